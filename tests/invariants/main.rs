//! What must always hold: the ten invariants of the design, each a property.
//!
//! The first four speak of the rule and are tested on it directly; the others
//! over short random histories of the real loops in a modelled world.
//!
//! Each was broken once by hand, and the property named found it:
//!
//! | invariant | broken by | found by |
//! | --- | --- | --- |
//! | 1 | `walk::dead`: `Answer::Unknown` treated like `Answer::Up` | `one_…_seen_up` |
//! | 1 | `Trial::answer`: up without `newest_is_success` | `one_…_rise_times_running` |
//! | 2 | `walk`: `Answer::Unknown` walks the steps of a dead origin | `two_…` |
//! | 3 | `walk::dead`: the current origin is not passed over, and down counts as up | `three_…` |
//! | 4 | `walk::accessible`: MAIN up on MAIN is a failback | `four_…` |
//! | 1–4 | `brake`: a keep is held too | `brakes_only_turn_a_switch_into_a_hold` |
//! | 5 | `Watched::answers`: with an alert, one failure takes the current origin down | `five_an_alert_…` |
//! | 5 | `SiteLoop::look`: a doubt starts no confirmation, a routine pass never acts | `five_without_…` |
//! | 6 | `History::restore`: switches of an earlier process are not counted | `six_…` |
//! | 6 | `brakes::brake`: a return spares nothing | `six_…` |
//! | 7 | `carry_out`: `dry_run` is not looked at | `seven_…` |
//! | 8 | `Reading::changes`: the record is sent back with `ttl` 1 | `eight_…` |
//! | 9 | `restore`: an open switch is forgotten | `nine_…` |
//! | 9 | `apply`: the intent is not stored before the write | `nine_…` |
//! | 10 | `circumstances`: a firing alert counts for ever | `ten_…` |
//! | 10 | `AlertBook`: a late firing copy undoes a resolve | `ten_…` |

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
