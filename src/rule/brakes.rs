//! What may turn a switch into a hold. Nothing here turns a hold into a switch.

use super::standing::Frozen;
use super::turns::{Turn, Wave};
use super::walk::{SwitchKind, Want};
use super::witness::{Edge, Sight};
use super::{Failback, Policy, Stance};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;

/// Everything the brakes look at, beside the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The wall clock.
    pub now: Timestamp,
    /// Whether the origin to be left was ever seen up with its present probe
    /// settings; true for an address that is not configured.
    pub proven: bool,
    /// Whether the record holds an address that is not configured.
    pub on_other: bool,
    /// How long MAIN has been undoubted.
    pub undoubted: Duration,
    /// Twice the TTL of a DNS-only record, zero for a proxied one.
    pub resolvers_need: Duration,
    /// Whether an alert of the site fires, and until when if it is not repeated.
    pub alert_until: Option<Timestamp>,
    /// Switches of the site that were, or may have been, written: inside the
    /// window, oldest first.
    pub switches: Vec<Timestamp>,
    /// A foreign edit that nobody adopted: what the record held before.
    pub foreign: Option<Foreign>,
    /// Whether the state file takes writes; without it a return waits.
    pub state_ok: bool,
    /// A person asked for the return: waits that protect from haste do not apply.
    pub asked_for: bool,
    /// A person's order that nothing be written.
    pub frozen: Option<Frozen>,
    /// Returns to MAIN that did not last, one after the other.
    pub relapses: u32,
    /// So many other sites left MAIN that this one is not to follow.
    pub together: Option<Together>,
    /// The turn of the return among those to the same origin, while it is yet
    /// to come.
    pub turn: Option<Turn>,
    /// For each origin, by index, the wave that keeps flights from it; shorter
    /// where nothing does.
    pub waves: Vec<Option<Wave>>,
    /// Whether our own network reaches anything.
    pub sight: Sight,
    /// What is seen of the site through the edge.
    pub edge: Edge,
}

/// The brake across sites, engaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// Sites that left MAIN inside the window.
    pub left: usize,
    /// Sites that may.
    pub allowed: usize,
    /// The window.
    pub window: Duration,
    /// When the first of them leaves the window.
    pub until: Option<Timestamp>,
}

/// Somebody else's edit of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What we last wrote or adopted.
    pub ours: String,
    /// What the record holds now.
    pub theirs: String,
    /// When Cloudflare says it was changed.
    pub modified_on: Timestamp,
}

/// Why the rule's wish is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// An answer is needed that nobody can give.
    Unconfirmed,
    /// The origin to be left was never seen up.
    Unproven,
    /// MAIN has not been well for long enough.
    FailbackWait,
    /// A person sends the site back.
    FailbackManual,
    /// An alert fires.
    AlertFiring,
    /// Too many switches.
    SwitchBudget,
    /// The record holds an address that is not configured.
    UnknownOrigin,
    /// Somebody else changed the record.
    Foreign,
    /// The records are missing, doubled, of another type, or disagree.
    RecordShape,
    /// The record cannot be read or written.
    CloudflareUnavailable,
    /// A person said that nothing be written.
    Frozen,
    /// Our own network may be what is down.
    Blind,
    /// Too many sites left MAIN together.
    Brake,
    /// The edge reaches the origin that we do not reach.
    EdgeUp,
    /// Others have just moved to the same origin.
    Wave,
}

impl HoldReason {
    /// The word used in metrics and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HoldReason::Unconfirmed => "unconfirmed",
            HoldReason::Unproven => "unproven",
            HoldReason::FailbackWait => "failback_wait",
            HoldReason::FailbackManual => "failback_manual",
            HoldReason::AlertFiring => "alert_firing",
            HoldReason::SwitchBudget => "switch_budget",
            HoldReason::UnknownOrigin => "unknown_origin",
            HoldReason::Foreign => "foreign",
            HoldReason::RecordShape => "record_shape",
            HoldReason::CloudflareUnavailable => "cloudflare_unavailable",
            HoldReason::Frozen => "frozen",
            HoldReason::Blind => "blind",
            HoldReason::Brake => "brake",
            HoldReason::EdgeUp => "edge_up",
            HoldReason::Wave => "wave",
        }
    }

    /// The command that lifts it, where there is one that does so by itself;
    /// `frozen` is what stands against the site.
    #[must_use]
    pub fn lift(self, site: &str, frozen: Option<&Frozen>) -> Option<String> {
        let command = match self {
            HoldReason::Unproven => "trust",
            HoldReason::FailbackWait | HoldReason::FailbackManual | HoldReason::AlertFiring => {
                "failback"
            }
            HoldReason::SwitchBudget
            | HoldReason::Foreign
            | HoldReason::Brake
            | HoldReason::Wave => "release",
            HoldReason::Frozen => return frozen.map(|frozen| frozen.lift(site)),
            HoldReason::Unconfirmed
            | HoldReason::UnknownOrigin
            | HoldReason::RecordShape
            | HoldReason::CloudflareUnavailable
            | HoldReason::Blind
            | HoldReason::EdgeUp => return None,
        };
        Some(format!("{command} {site}"))
    }
}

/// A hold: the reason, what to tell a person, and when it ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The reason.
    pub reason: HoldReason,
    /// Half a sentence for the explanation.
    pub because: String,
    /// When it is worth looking again, if that is known.
    pub until: Option<Timestamp>,
}

/// What is said while our own network may be what is down.
pub(super) const BLIND: &str = "fewer of guard.control_targets answer than guard.control_needed, \
     so our own network may be what is down, and nothing is changed on what it says";

/// The hold that stands against `want`, if any.
///
/// A flight is stopped by as little as possible: a dead origin costs more than
/// a doubtful switch. A return can always wait. A person's pin is stopped by a
/// person's freeze alone.
#[must_use]
pub fn brake(policy: &Policy, want: Want, given: &Circumstances) -> Option<Hold> {
    let Want::Switch(kind, to) = want else {
        return None;
    };
    match kind {
        SwitchKind::Pin => frozen(given),
        SwitchKind::Failover => frozen(given)
            .or_else(|| unknown_origin(policy, given))
            .or_else(|| unproven(policy, given))
            .or_else(|| edge_up(given))
            .or_else(|| together(given))
            .or_else(|| budget(policy, given, 0))
            .or_else(|| wave(given, to)),
        SwitchKind::Failback => frozen(given)
            .or_else(|| blind(given))
            .or_else(|| foreign(policy, given))
            .or_else(|| unknown_origin(policy, given))
            .or_else(|| unproven(policy, given))
            .or_else(|| manual(policy, given))
            .or_else(|| alert(given))
            .or_else(|| failback_wait(policy, given))
            .or_else(|| budget(policy, given, 1))
            .or_else(|| blind_state(given))
            .or_else(|| turn(given)),
    }
}

fn hold(reason: HoldReason, because: impl fmt::Display, until: Option<Timestamp>) -> Option<Hold> {
    Some(Hold {
        reason,
        because: because.to_string(),
        until,
    })
}

fn frozen(given: &Circumstances) -> Option<Hold> {
    let frozen = given.frozen.as_ref()?;
    hold(HoldReason::Frozen, frozen.clause(), frozen.freeze.until)
}

/// A flight needs no such brake: while we see nothing, nothing is down.
fn blind(given: &Circumstances) -> Option<Hold> {
    if given.sight != Sight::Blind {
        return None;
    }
    hold(HoldReason::Blind, BLIND, None)
}

fn edge_up(given: &Circumstances) -> Option<Hold> {
    if given.edge != Edge::Serves {
        return None;
    }
    let because = "through Cloudflare's edge the site answers as expected, so our own path to the origin \
                   may be what is broken: check the route and the firewall between here and there";
    hold(HoldReason::EdgeUp, because, None)
}

fn together(given: &Circumstances) -> Option<Hold> {
    let together = given.together.as_ref()?;
    let because = format!(
        "{} other {} left MAIN within {}, and guard.max_sites_together allows {}: \
         find out what they share",
        together.left,
        if together.left == 1 { "site" } else { "sites" },
        seconds(together.window),
        together.allowed
    );
    hold(HoldReason::Brake, because, together.until)
}

fn unknown_origin(policy: &Policy, given: &Circumstances) -> Option<Hold> {
    if !given.on_other || policy.unknown_origin == Stance::Reclaim {
        return None;
    }
    let because = "the record holds neither MAIN nor a BACKUP, and unknown_origin = \"hold\" leaves it: \
                   point the record to an origin, or configure its address";
    hold(HoldReason::UnknownOrigin, because, None)
}

fn unproven(policy: &Policy, given: &Circumstances) -> Option<Hold> {
    if given.proven || !policy.require_proof {
        return None;
    }
    let because = "the origin to be left was never seen up with its present probe settings, \
                   so the probe may be what is wrong: check its path, host, certificate and firewall; \
                   if it is right, trust it or set require_proof = false";
    hold(HoldReason::Unproven, because, None)
}

fn foreign(policy: &Policy, given: &Circumstances) -> Option<Hold> {
    let edit = given.foreign.as_ref()?;
    if policy.foreign_edit == Stance::Reclaim || given.asked_for {
        return None;
    }
    let because = format!(
        "somebody else changed the record from {} to {} at {}: it is left until a person releases it",
        edit.ours, edit.theirs, edit.modified_on
    );
    hold(HoldReason::Foreign, because, None)
}

fn manual(policy: &Policy, given: &Circumstances) -> Option<Hold> {
    if policy.failback == Failback::Auto || given.asked_for {
        return None;
    }
    let because = "failback = \"manual\": a person sends the site back";
    hold(HoldReason::FailbackManual, because, None)
}

fn alert(given: &Circumstances) -> Option<Hold> {
    if given.asked_for {
        return None;
    }
    let until = given.alert_until?;
    let because = "an alert for the site still fires";
    hold(HoldReason::AlertFiring, because, Some(until))
}

fn failback_wait(policy: &Policy, given: &Circumstances) -> Option<Hold> {
    let needed = patience(policy, given.relapses).max(given.resolvers_need);
    if given.undoubted >= needed || given.asked_for {
        return None;
    }
    let left = needed - given.undoubted;
    let mut because = format!(
        "MAIN has been up for {} of {}",
        seconds(given.undoubted),
        seconds(needed)
    );
    match given.relapses {
        0 => {}
        1 => because.push_str(" (longer than usual: the last return did not last)"),
        many => because.push_str(&format!(
            " (longer than usual: the last {many} returns did not last)"
        )),
    }
    hold(HoldReason::FailbackWait, because, later(given.now, left))
}

/// How long MAIN must have been well before a return: doubled for each return
/// before it that did not last.
#[must_use]
pub fn patience(policy: &Policy, relapses: u32) -> Duration {
    let doubled = policy.failback_after.saturating_mul(1 << relapses.min(24));
    doubled.min(policy.failback_max.max(policy.failback_after))
}

/// `spare` switches must remain after this one.
fn budget(policy: &Policy, given: &Circumstances, spare: usize) -> Option<Hold> {
    let allowed = usize::try_from(policy.max_switches).unwrap_or(usize::MAX);
    let window = policy.switch_window;
    let inside: Vec<Timestamp> = given
        .switches
        .iter()
        .copied()
        .filter(|&at| given.now.duration_since(at) < signed(window))
        .collect();
    if inside.len() + 1 + spare <= allowed {
        return None;
    }
    let because = format!(
        "{} of {allowed} switches were made within {}{}: find out why the site moves so often",
        inside.len(),
        seconds(window),
        if spare > 0 {
            ", and a return leaves one for the next flight"
        } else {
            ""
        }
    );
    // The hold ends when enough of them have left the window.
    let surplus = inside.len() + 1 + spare - allowed;
    let until = inside
        .get(surplus.saturating_sub(1))
        .and_then(|&at| later(at, window));
    hold(HoldReason::SwitchBudget, because, until)
}

/// A return needs a state file that remembers it; a flight goes on from memory.
fn blind_state(given: &Circumstances) -> Option<Hold> {
    if given.state_ok {
        return None;
    }
    let because = "the state file takes no writes, so a return could not be remembered: \
                   make room or make it writable";
    hold(HoldReason::FailbackWait, because, None)
}

/// Asked last: who is held by something else takes nobody's place.
fn wave(given: &Circumstances, to: usize) -> Option<Hold> {
    let wave = given.waves.get(to)?.as_ref()?;
    hold(HoldReason::Wave, wave.clause(), wave.until)
}

/// Asked last: who is held by something else takes nobody's turn.
fn turn(given: &Circumstances) -> Option<Hold> {
    let turn = given.turn.as_ref().filter(|_| !given.asked_for)?;
    hold(HoldReason::FailbackWait, turn.clause(), Some(turn.at))
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn later(at: Timestamp, by: Duration) -> Option<Timestamp> {
    at.checked_add(signed(by)).ok()
}

/// Whole seconds, or the larger unit where nothing is lost.
#[must_use]
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0 => format!("{} ms", time.as_millis()),
        _ if whole.is_multiple_of(3600) => format!("{} h", whole / 3600),
        _ if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        _ => format!("{whole} s"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rule::standing::{Freeze, Scope};
    use crate::rule::walk::KeepReason;

    /// The defaults of the configuration.
    pub(crate) fn policy() -> Policy {
        Policy {
            fall: 3,
            rise: 2,
            confirm_interval: Duration::from_secs(1),
            confirm_for: Duration::from_secs(10),
            require_proof: true,
            failback: Failback::Auto,
            failback_after: Duration::from_secs(300),
            unknown_origin: Stance::Reclaim,
            foreign_edit: Stance::Hold,
            max_switches: 6,
            switch_window: Duration::from_secs(3600),
            failback_max: Duration::from_secs(3600),
            failback_spread: Duration::from_secs(300),
            verify_after: Duration::from_secs(5),
            dry_run: false,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn calm() -> Circumstances {
        Circumstances {
            now: at(0),
            proven: true,
            on_other: false,
            undoubted: Duration::from_secs(300),
            resolvers_need: Duration::ZERO,
            alert_until: None,
            switches: Vec::new(),
            foreign: None,
            state_ok: true,
            asked_for: false,
            frozen: None,
            relapses: 0,
            together: None,
            turn: None,
            waves: Vec::new(),
            sight: Sight::Clear,
            edge: Edge::Off,
        }
    }

    const PIN: Want = Want::Switch(SwitchKind::Pin, 1);
    const FLIGHT: Want = Want::Switch(SwitchKind::Failover, 1);
    const RETURN: Want = Want::Switch(SwitchKind::Failback, 0);

    fn reason(policy: &Policy, want: Want, given: &Circumstances) -> Option<HoldReason> {
        brake(policy, want, given).map(|hold| hold.reason)
    }

    #[test]
    fn nothing_stands_against_a_calm_switch_and_a_keep_needs_no_brake() {
        assert_eq!(brake(&policy(), FLIGHT, &calm()), None);
        assert_eq!(brake(&policy(), RETURN, &calm()), None);
        let mut worst = calm();
        worst.proven = false;
        let keep = Want::Keep(KeepReason::AllDown);
        assert_eq!(brake(&policy(), keep, &worst), None);
    }

    #[test]
    fn an_origin_never_seen_up_is_not_left_unless_proof_is_not_asked_for() {
        let mut given = calm();
        given.proven = false;
        assert_eq!(
            reason(&policy(), FLIGHT, &given),
            Some(HoldReason::Unproven)
        );
        let mut lax = policy();
        lax.require_proof = false;
        assert_eq!(reason(&lax, FLIGHT, &given), None);
    }

    #[test]
    fn a_return_waits_until_main_was_well_for_failback_after() {
        let mut given = calm();
        given.undoubted = Duration::from_secs(299);
        let hold = brake(&policy(), RETURN, &given).unwrap();
        assert_eq!(hold.reason, HoldReason::FailbackWait);
        assert_eq!(hold.until, Some(at(1)));
        assert_eq!(hold.because, "MAIN has been up for 299 s of 5 min");
        assert_eq!(reason(&policy(), FLIGHT, &given), None);
    }

    #[test]
    fn a_dns_only_record_waits_for_its_resolvers() {
        let mut given = calm();
        given.resolvers_need = Duration::from_secs(600);
        assert_eq!(
            reason(&policy(), RETURN, &given),
            Some(HoldReason::FailbackWait)
        );
    }

    #[test]
    fn alerts_manual_failback_and_foreign_edits_stop_returns_only() {
        let mut firing = calm();
        firing.alert_until = Some(at(60));
        assert_eq!(
            reason(&policy(), RETURN, &firing),
            Some(HoldReason::AlertFiring)
        );
        assert_eq!(reason(&policy(), FLIGHT, &firing), None);

        let mut manual = policy();
        manual.failback = Failback::Manual;
        assert_eq!(
            reason(&manual, RETURN, &calm()),
            Some(HoldReason::FailbackManual)
        );
        assert_eq!(reason(&manual, FLIGHT, &calm()), None);

        let mut edited = calm();
        edited.foreign = Some(Foreign {
            ours: "192.0.2.10".into(),
            theirs: "198.51.100.20".into(),
            modified_on: at(-5),
        });
        assert_eq!(
            reason(&policy(), RETURN, &edited),
            Some(HoldReason::Foreign)
        );
        assert_eq!(reason(&policy(), FLIGHT, &edited), None);
        let mut reclaim = policy();
        reclaim.foreign_edit = Stance::Reclaim;
        assert_eq!(reason(&reclaim, RETURN, &edited), None);
    }

    #[test]
    fn an_unknown_address_is_left_alone_only_if_the_user_says_so() {
        let mut given = calm();
        given.on_other = true;
        assert_eq!(reason(&policy(), FLIGHT, &given), None);
        let mut careful = policy();
        careful.unknown_origin = Stance::Hold;
        for want in [FLIGHT, RETURN] {
            assert_eq!(
                reason(&careful, want, &given),
                Some(HoldReason::UnknownOrigin)
            );
        }
    }

    #[test]
    fn a_return_leaves_one_switch_for_the_next_flight() {
        let mut given = calm();
        given.switches = (0..5).map(|n| at(-100 + n)).collect();
        assert_eq!(reason(&policy(), FLIGHT, &given), None);
        assert_eq!(
            reason(&policy(), RETURN, &given),
            Some(HoldReason::SwitchBudget)
        );
        given.switches.push(at(-1));
        let hold = brake(&policy(), FLIGHT, &given).unwrap();
        assert_eq!(hold.reason, HoldReason::SwitchBudget);
        assert_eq!(hold.until, Some(at(-100 + 3600)));
        given.now = at(3500);
        assert_eq!(reason(&policy(), FLIGHT, &given), None);
    }

    #[test]
    fn without_a_state_file_a_flight_goes_on_and_a_return_waits() {
        let mut given = calm();
        given.state_ok = false;
        assert_eq!(reason(&policy(), FLIGHT, &given), None);
        assert!(brake(&policy(), RETURN, &given).is_some());
    }

    #[test]
    fn a_person_who_asks_for_the_return_is_not_made_to_wait() {
        let mut given = calm();
        given.asked_for = true;
        given.undoubted = Duration::ZERO;
        given.alert_until = Some(at(60));
        let mut manual = policy();
        manual.failback = Failback::Manual;
        assert_eq!(reason(&manual, RETURN, &given), None);
    }

    #[test]
    fn a_return_waits_for_its_turn_unless_a_person_asks_for_it() {
        let mut given = calm();
        given.turn = Some(Turn {
            at: at(40),
            target: "192.0.2.10".into(),
            spread: Duration::from_secs(300),
        });
        let hold = brake(&policy(), RETURN, &given).unwrap();
        assert_eq!(
            (hold.reason, hold.until),
            (HoldReason::FailbackWait, Some(at(40)))
        );
        assert!(
            hold.because
                .starts_with("returns to 192.0.2.10 are spread over 5 min")
        );
        for want in [FLIGHT, PIN] {
            assert_eq!(reason(&policy(), want, &given), None);
        }
        // What else holds the return is what is told.
        let mut firing = given.clone();
        firing.alert_until = Some(at(60));
        assert_eq!(
            reason(&policy(), RETURN, &firing),
            Some(HoldReason::AlertFiring)
        );
        given.asked_for = true;
        assert_eq!(reason(&policy(), RETURN, &given), None);
    }

    #[test]
    fn a_freeze_stops_every_switch_and_says_who_lifts_it() {
        let mut given = calm();
        given.asked_for = true;
        given.frozen = Some(Frozen {
            scope: Scope::Site,
            freeze: Freeze {
                until: Some(at(60)),
                reason: "move".into(),
            },
        });
        for want in [FLIGHT, RETURN, PIN] {
            let hold = brake(&policy(), want, &given).unwrap();
            assert_eq!(
                (hold.reason, hold.until),
                (HoldReason::Frozen, Some(at(60)))
            );
            assert!(hold.because.contains("(move)"), "{}", hold.because);
        }
    }

    #[test]
    fn the_edge_and_the_brake_across_sites_stop_flights_only() {
        let mut given = calm();
        given.edge = Edge::Serves;
        assert_eq!(reason(&policy(), FLIGHT, &given), Some(HoldReason::EdgeUp));
        assert_eq!(reason(&policy(), RETURN, &given), None);
        for edge in [
            Edge::Fails(521),
            Edge::Fails(503),
            Edge::Silent,
            Edge::Abstains,
        ] {
            given.edge = edge;
            assert_eq!(reason(&policy(), FLIGHT, &given), None, "{edge:?}");
        }
        given.together = Some(Together {
            left: 3,
            allowed: 3,
            window: Duration::from_secs(300),
            until: Some(at(20)),
        });
        let hold = brake(&policy(), FLIGHT, &given).unwrap();
        assert_eq!((hold.reason, hold.until), (HoldReason::Brake, Some(at(20))));
        assert_eq!(reason(&policy(), RETURN, &given), None);
    }

    #[test]
    fn a_wave_stops_flights_to_its_own_target_only() {
        let mut given = calm();
        let wave = Wave {
            moved: 10,
            target: "198.51.100.20".into(),
            until: Some(at(9)),
        };
        given.waves = vec![None, Some(wave), None];
        let hold = brake(&policy(), FLIGHT, &given).unwrap();
        assert_eq!((hold.reason, hold.until), (HoldReason::Wave, Some(at(9))));
        for to in [0, 2, 3] {
            let want = Want::Switch(SwitchKind::Failover, to);
            assert_eq!(reason(&policy(), want, &given), None, "to {to}");
        }
        for want in [RETURN, PIN] {
            assert_eq!(reason(&policy(), want, &given), None);
        }
        assert_eq!(HoldReason::Wave.lift("www", None).unwrap(), "release www");
    }

    #[test]
    fn a_pin_is_stopped_by_a_freeze_alone() {
        let mut given = calm();
        given.proven = false;
        given.on_other = true;
        given.alert_until = Some(at(60));
        given.undoubted = Duration::ZERO;
        given.switches = (0..9).map(|n| at(-100 + n)).collect();
        given.state_ok = false;
        given.edge = Edge::Serves;
        let mut careful = policy();
        careful.unknown_origin = Stance::Hold;
        assert_eq!(reason(&careful, PIN, &given), None);
    }

    #[test]
    fn the_wait_doubles_with_each_return_that_did_not_last_up_to_its_limit() {
        let minutes = |relapses| patience(&policy(), relapses).as_secs() / 60;
        let waits: Vec<u64> = [0, 1, 2, 3, 4, 5, 1000].map(minutes).into();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
        let mut long = policy();
        long.failback_after = Duration::from_secs(7200);
        assert_eq!(patience(&long, 3), long.failback_after);
        let mut at_once = policy();
        at_once.failback_after = Duration::ZERO;
        assert_eq!(patience(&at_once, 3), Duration::ZERO);

        let mut given = calm();
        given.relapses = 2;
        let hold = brake(&policy(), RETURN, &given).unwrap();
        assert_eq!(hold.until, Some(at(900)));
        assert_eq!(
            hold.because,
            "MAIN has been up for 5 min of 20 min (longer than usual: the last 2 returns did not last)"
        );
    }
}
