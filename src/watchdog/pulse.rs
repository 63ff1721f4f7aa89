//! What the words of the Watchdog, and their absence, come to. Pure: `now` is an
//! argument.

use crate::rule::Moment;
use crate::rule::alerts::{AlertBook, AlertStatus};
use jiff::Timestamp;
use std::time::Duration;

/// Who looks this much after a deadline was not running when it passed.
const OVERSLEPT: Duration = Duration::from_secs(2);

/// What the words of the Watchdog, and their absence, come to.
///
/// Several alerts may be the Watchdog's, such as those of two Prometheus
/// servers; the path lives while any of them fires.
#[derive(Debug)]
pub(super) struct Pulse {
    /// After so much silence the path is dead.
    pub(super) timeout: Duration,
    book: AlertBook,
    /// Without a first word, silence counts from here.
    since: Moment,
    /// The first word has come, or was waited for long enough.
    known: bool,
    seen_at: Moment,
}

impl Pulse {
    /// Listens from `now` on.
    pub(super) fn new(timeout: Duration, now: Moment) -> Pulse {
        Pulse {
            timeout,
            book: AlertBook::default(),
            since: now,
            known: false,
            seen_at: now,
        }
    }

    /// Takes the word of an alert.
    pub(super) fn hear(
        &mut self,
        identity: u64,
        status: AlertStatus,
        starts_at: Option<Timestamp>,
        now: Moment,
    ) {
        self.book.take(identity, status, starts_at, now);
        self.known = true;
    }

    /// Whether the alert path lives; `None` while that is not known.
    pub(super) fn lives(&self, now: Moment) -> Option<bool> {
        self.known.then(|| self.book.firing(now, self.timeout))
    }

    /// When silence will have lasted too long; `None` where it has.
    pub(super) fn deadline(&self) -> Option<Moment> {
        if self.known {
            self.book.firing_until(self.seen_at, self.timeout)
        } else {
            Some(self.since + self.timeout)
        }
    }

    /// Lets time pass until `now`. In what nobody looked at, because the machine
    /// slept or its clock was set (`jumped`), nothing expires.
    pub(super) fn pass_time(&mut self, now: Moment, jumped: bool) {
        let overslept = |deadline| now.since(deadline) > OVERSLEPT;
        if jumped || self.deadline().is_some_and(overslept) {
            let unseen = now.since(self.seen_at);
            self.book.forgive(unseen);
            self.since = self.since + unseen;
        }
        self.seen_at = now;
        self.known |= self.since + self.timeout <= now;
        // What has expired is not brought back by time that is forgiven later,
        // and an alert that fires again as it did before an end that was none
        // (same start: a copy, to the book) is heard again.
        self.book.prune(now, self.timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AlertStatus::{Firing, Resolved};

    const MINUTE: Duration = Duration::from_secs(60);
    const TIMEOUT: Duration = Duration::from_secs(900);

    /// What happens to a pulse.
    enum Event {
        /// The word of an alert with this number, which started at this second.
        Word(u64, AlertStatus, i64),
        /// Somebody looks.
        Look,
        /// Somebody looks, and the clocks have gone apart.
        Jump,
    }
    use Event::{Jump, Look, Word};

    const UP: Option<bool> = Some(true);
    const DOWN: Option<bool> = Some(false);

    /// Events, each with its minute, and what is known after it.
    type Story = &'static [(u64, Event, Option<bool>)];

    const STORIES: &[(&str, Story)] = &[
        (
            "silence from the start, then a word",
            &[
                (0, Look, None),
                (14, Look, None),
                (15, Look, DOWN),
                (16, Word(1, Firing, 0), UP),
            ],
        ),
        (
            "silence after a word, and the same alert again",
            &[
                (1, Word(1, Firing, 0), UP),
                (15, Look, UP),
                (16, Look, DOWN),
                (17, Word(1, Firing, 0), UP),
            ],
        ),
        (
            "repeats keep it alive",
            &[
                (0, Word(1, Firing, 0), UP),
                (14, Word(1, Firing, 0), UP),
                (28, Word(1, Firing, 0), UP),
                (42, Look, UP),
                (43, Look, DOWN),
            ],
        ),
        (
            "resolved is the end at once, also as the first word",
            &[(1, Word(1, Resolved, 0), DOWN), (16, Look, DOWN)],
        ),
        (
            "a late copy does not undo an end, a newer start does",
            &[
                (1, Word(1, Firing, 5), UP),
                (2, Word(1, Resolved, 5), DOWN),
                (3, Word(1, Firing, 5), DOWN),
                (4, Word(1, Firing, 6), UP),
                (5, Word(1, Resolved, 5), UP),
            ],
        ),
        (
            "it fires on with the same start after an end that was none",
            &[
                (1, Word(1, Firing, 5), UP),
                (2, Word(1, Resolved, 5), DOWN),
                (16, Word(1, Firing, 5), DOWN),
                (17, Word(1, Firing, 5), UP),
            ],
        ),
        (
            "of two Prometheus servers one is enough",
            &[
                (1, Word(1, Firing, 0), UP),
                (1, Word(2, Firing, 0), UP),
                (2, Word(1, Resolved, 0), UP),
                (3, Word(2, Resolved, 0), DOWN),
            ],
        ),
        (
            "time that nobody looked at expires nothing",
            &[
                (1, Word(1, Firing, 0), UP),
                (10, Jump, UP),
                (24, Look, UP),
                (25, Look, DOWN),
                // What is over is not brought back.
                (50, Jump, DOWN),
            ],
        ),
        (
            "nor does it end the wait for the first word",
            &[
                (10, Jump, None),
                (24, Look, None),
                (25, Look, DOWN),
                (40, Jump, DOWN),
            ],
        ),
        (
            "whoever comes long after a deadline was not running when it passed",
            &[
                (1, Word(1, Firing, 0), UP),
                (60, Look, UP),
                (74, Look, UP),
                (75, Look, DOWN),
            ],
        ),
    ];

    #[test]
    fn what_is_heard_and_what_is_not_decide_whether_the_path_lives() {
        for (name, story) in STORIES {
            let at = |minute: u64| Moment(MINUTE * u32::try_from(minute).unwrap());
            let mut pulse = Pulse::new(TIMEOUT, at(0));
            for (minute, event, expected) in *story {
                let now = at(*minute);
                pulse.pass_time(now, matches!(event, Jump));
                if let Word(identity, status, start) = *event {
                    let start = Timestamp::from_second(start).ok();
                    pulse.hear(identity, status, start, now);
                }
                assert_eq!(pulse.lives(now), *expected, "{name}: minute {minute}");
            }
        }
    }
}
