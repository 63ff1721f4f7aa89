//! What must always hold: the ten invariants of the design, each a property.
//!
//! The first four speak of the rule and are tested on it directly; the others
//! over short random histories of the real loops in a modelled world.
//!
//! Each was broken once by hand, and the property named found it:
//!
//! | invariant | broken by | found by |
//! | --- | --- | --- |
//! | 1 | `walk::dead`: `Answer::Unknown` is taken like `Answer::Up` | `one_never…` |
//! | 1 | `Trial::answer`: up without its newest successes in a row | `one_up_means…` |
//! | 2, 3 | `walk`: the current origin's `Answer::Unknown` walks the steps of a dead one | `two_…`, `three_…` |
//! | 3 | `walk::dead`: all down ends in a switch to MAIN | `three_…` |
//! | 4 | `walk::accessible`: MAIN up on MAIN is a failback | `four_…` |
//! | brakes | `brake`: a firing alert stops a flight | `brakes_only…` |
//! | 5 | `Watched::answers`: with an alert one failure is down | `five_an_alert…` |
//! | 5 | `SiteLoop::evidence`: without an alert no span is long enough | `five_without…` |
//! | 6 | `History::restore`: switches of an earlier process are not counted | `six_no_history…` |
//! | 6 | `brake`: a return spares nothing | `six_no_history…` |
//! | 6 | `unanswered`: a switch of unknown outcome is not counted | `six_no_history…` |
//! | 7 | `carry_out`: `dry_run` is not looked at | `seven_…` |
//! | 8 | `Reading::changes`: the record is sent back with `ttl` 1 | `eight_…` |
//! | 9 | `restore`: an open switch is forgotten | `nine_…` |
//! | 9 | `apply`: the intent is not stored before the write | `nine_…` |
//! | 10 | `Ttl::get`: alerts do not end | `ten_…` |
//! | 10 | `absorb`: alerts do not age while all is well | `ten_…` |
//!
//! `PROPTEST_CASES` makes the runs longer.

mod histories;
mod rule;
#[path = "../support/mod.rs"]
mod support;

/// The number of cases: `PROPTEST_CASES` where it is set.
fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES");
    asked
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}
