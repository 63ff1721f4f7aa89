//! The eight steps.
//!
//! 1. Get the origin from Cloudflare. 2. Is it accessible? If not, go to 6.
//! 3. Is it MAIN? Yes: no change. 4. Is MAIN accessible? No: no change.
//! 5. Change to MAIN. 6. Is it BACKUP? Yes: from here on "BACKUP" means MAIN.
//! 7. Is BACKUP accessible? No: no change. 8. Change to BACKUP.
//!
//! One addition: an unknown, dead address beside dead BACKUPs and a healthy
//! MAIN goes to MAIN; the steps as written would leave the site dead.

use super::health::Answer;

/// Where the record points, as the walk sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Current {
    /// A configured origin, by index.
    Origin(usize),
    /// An address that is not configured, and whether it is accessible.
    Other(Answer),
}

/// Why the record stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// It holds MAIN, which is up.
    OnMain,
    /// It holds something healthy while MAIN is down.
    MainDown,
    /// Nothing is up.
    AllDown,
}

/// The two kinds of switch, which brakes treat apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchKind {
    /// Leaving a dead origin.
    Failover,
    /// Coming home to MAIN.
    Failback,
    /// A person's order: no step of the walk leads to it.
    Pin,
}

/// What the walk ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// No change.
    Keep(KeepReason),
    /// Change the record to the origin with this index.
    Switch(SwitchKind, usize),
    /// An answer is needed that nobody can give.
    CannotTell(Asked),
    /// An answer is needed that more probes will give.
    Wait(Asked),
}

/// Of whom an answer was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Of a configured origin, by index.
    Origin(usize),
    /// Of the address that is not configured.
    Other,
}

/// The walk: the steps in the order taken, and what they end in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Step numbers.
    pub steps: Vec<u8>,
    /// The outcome.
    pub want: Want,
}

/// Walks the eight steps.
///
/// `answers` holds one answer for each configured origin; `main` is the index
/// of the origin that plays MAIN's part, the rest are BACKUPs in order.
#[must_use]
pub fn walk(current: Current, answers: &[Answer], main: usize) -> Walk {
    let of = |index: usize| answers.get(index).copied().unwrap_or(Answer::Unknown);
    let (here, asked) = match current {
        Current::Origin(index) => (of(index), Asked::Origin(index)),
        Current::Other(answer) => (answer, Asked::Other),
    };
    let mut steps = vec![1, 2];
    let want = match here {
        Answer::Up => accessible(current, of(main), main, &mut steps),
        Answer::Down => dead(current, answers, main, &mut steps),
        Answer::Unknown => Want::CannotTell(asked),
        Answer::Pending => Want::Wait(asked),
    };
    Walk { steps, want }
}

/// Steps 3 to 5: the record holds something healthy.
fn accessible(current: Current, main_answer: Answer, main: usize, steps: &mut Vec<u8>) -> Want {
    steps.push(3);
    if current == Current::Origin(main) {
        return Want::Keep(KeepReason::OnMain);
    }
    steps.push(4);
    match main_answer {
        Answer::Up => {
            steps.push(5);
            Want::Switch(SwitchKind::Failback, main)
        }
        Answer::Down => Want::Keep(KeepReason::MainDown),
        Answer::Unknown => Want::CannotTell(Asked::Origin(main)),
        Answer::Pending => Want::Wait(Asked::Origin(main)),
    }
}

/// Steps 6 to 8: the record holds something dead.
fn dead(current: Current, answers: &[Answer], main: usize, steps: &mut Vec<u8>) -> Want {
    steps.extend([6, 7]);
    let backups = (0..answers.len()).filter(|&index| index != main);
    let on_backup = matches!(current, Current::Origin(index) if index != main);
    // Step 6 asks MAIN first when a BACKUP died; our addition asks it last
    // when an unknown address did.
    let order: Vec<usize> = if on_backup {
        std::iter::once(main).chain(backups).collect()
    } else {
        backups.chain(std::iter::once(main)).collect()
    };
    let mut untold = None;
    for index in order {
        if current == Current::Origin(index) {
            continue;
        }
        match answers[index] {
            Answer::Up => {
                // Step 8 changes to BACKUP; the addition is no step of the walk.
                if index != main || on_backup {
                    steps.push(8);
                }
                return Want::Switch(SwitchKind::Failover, index);
            }
            Answer::Down => {}
            // One that cannot be told does not keep a dead site from a healthy
            // one further down; one that will be told shortly is waited for.
            Answer::Unknown => untold = untold.or(Some(Asked::Origin(index))),
            Answer::Pending => return Want::Wait(Asked::Origin(index)),
        }
    }
    untold.map_or(Want::Keep(KeepReason::AllDown), Want::CannotTell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Down, Pending, Unknown, Up};

    const MAIN: Current = Current::Origin(0);
    const BACKUP: Current = Current::Origin(1);

    fn to(kind: SwitchKind, index: usize) -> Want {
        Want::Switch(kind, index)
    }

    /// One row of design.md's table: what the record holds, the answers of
    /// MAIN and BACKUP, the steps and the outcome.
    #[track_caller]
    fn row(current: Current, main: Answer, backup: Answer, steps: &[u8], want: Want) {
        let walked = walk(current, &[main, backup], 0);
        assert_eq!((walked.steps.as_slice(), walked.want), (steps, want));
    }

    #[test]
    fn on_main_up_stays() {
        for backup in [Up, Down, Unknown, Pending] {
            row(MAIN, Up, backup, &[1, 2, 3], Want::Keep(KeepReason::OnMain));
        }
    }

    #[test]
    fn on_main_down_backup_up_flees() {
        let want = to(SwitchKind::Failover, 1);
        row(MAIN, Down, Up, &[1, 2, 6, 7, 8], want);
    }

    #[test]
    fn on_main_down_backup_down_stays() {
        let want = Want::Keep(KeepReason::AllDown);
        row(MAIN, Down, Down, &[1, 2, 6, 7], want);
    }

    #[test]
    fn on_backup_up_main_up_returns() {
        let want = to(SwitchKind::Failback, 0);
        row(BACKUP, Up, Up, &[1, 2, 3, 4, 5], want);
    }

    #[test]
    fn on_backup_up_main_down_stays() {
        let want = Want::Keep(KeepReason::MainDown);
        row(BACKUP, Down, Up, &[1, 2, 3, 4], want);
    }

    #[test]
    fn on_backup_down_main_up_flees_to_main() {
        let want = to(SwitchKind::Failover, 0);
        row(BACKUP, Up, Down, &[1, 2, 6, 7, 8], want);
    }

    #[test]
    fn on_backup_down_main_down_stays() {
        let want = Want::Keep(KeepReason::AllDown);
        row(BACKUP, Down, Down, &[1, 2, 6, 7], want);
    }

    #[test]
    fn on_other_up_main_up_returns() {
        for backup in [Up, Down, Unknown] {
            let want = to(SwitchKind::Failback, 0);
            row(Current::Other(Up), Up, backup, &[1, 2, 3, 4, 5], want);
        }
    }

    #[test]
    fn on_other_up_main_down_stays() {
        for backup in [Up, Down, Unknown] {
            let want = Want::Keep(KeepReason::MainDown);
            row(Current::Other(Up), Down, backup, &[1, 2, 3, 4], want);
        }
    }

    #[test]
    fn on_other_down_backup_up_flees_to_backup() {
        for main in [Up, Down, Unknown, Pending] {
            let want = to(SwitchKind::Failover, 1);
            row(Current::Other(Down), main, Up, &[1, 2, 6, 7, 8], want);
        }
    }

    #[test]
    fn on_other_down_only_main_up_flees_to_main() {
        let want = to(SwitchKind::Failover, 0);
        row(Current::Other(Down), Up, Down, &[1, 2, 6, 7], want);
    }

    #[test]
    fn on_other_down_all_down_stays() {
        let want = Want::Keep(KeepReason::AllDown);
        row(Current::Other(Down), Down, Down, &[1, 2, 6, 7], want);
    }

    #[test]
    fn an_answer_that_is_needed_and_unknown_cannot_be_told() {
        let main = Want::CannotTell(Asked::Origin(0));
        let backup = Want::CannotTell(Asked::Origin(1));
        row(MAIN, Unknown, Up, &[1, 2], main);
        row(MAIN, Down, Unknown, &[1, 2, 6, 7], backup);
        row(BACKUP, Unknown, Up, &[1, 2, 3, 4], main);
        row(BACKUP, Unknown, Down, &[1, 2, 6, 7], main);
        let other = Want::CannotTell(Asked::Other);
        row(Current::Other(Unknown), Up, Up, &[1, 2], other);
    }

    #[test]
    fn an_answer_on_its_way_is_waited_for() {
        row(MAIN, Pending, Up, &[1, 2], Want::Wait(Asked::Origin(0)));
        let backup = Want::Wait(Asked::Origin(1));
        row(MAIN, Down, Pending, &[1, 2, 6, 7], backup);
    }

    #[test]
    fn backups_are_asked_in_order_without_the_current_one() {
        let from = |current, answers: &[Answer]| walk(current, answers, 0).want;
        let failover = |index| to(SwitchKind::Failover, index);
        assert_eq!(from(MAIN, &[Down, Up, Up]), failover(1));
        assert_eq!(from(MAIN, &[Down, Down, Up]), failover(2));
        assert_eq!(from(BACKUP, &[Up, Down, Up]), failover(0));
        assert_eq!(from(BACKUP, &[Down, Down, Up]), failover(2));
        assert_eq!(from(Current::Origin(2), &[Down, Up, Down]), failover(1));
    }

    #[test]
    fn one_that_cannot_be_told_does_not_keep_a_dead_site_from_a_healthy_one() {
        let walked = walk(MAIN, &[Down, Unknown, Up], 0);
        assert_eq!(walked.want, to(SwitchKind::Failover, 2));
        let walked = walk(MAIN, &[Down, Pending, Up], 0);
        assert_eq!(walked.want, Want::Wait(Asked::Origin(1)));
    }

    #[test]
    fn deciding_again_after_applying_changes_nothing() {
        for main in [Up, Down] {
            for backup in [Up, Down] {
                for other in [Up, Down] {
                    for current in [MAIN, BACKUP, Current::Other(other)] {
                        let want = walk(current, &[main, backup], 0).want;
                        if let Want::Switch(_, index) = want {
                            let again = walk(Current::Origin(index), &[main, backup], 0);
                            assert!(
                                matches!(
                                    again.want,
                                    Want::Keep(_) | Want::Switch(SwitchKind::Failback, 0)
                                ),
                                "{current:?} {main:?} {backup:?}: {want:?} then {again:?}"
                            );
                            if index == 0 || main == Down {
                                assert!(matches!(again.want, Want::Keep(_)), "{again:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
