//! An origin's health machine, and its twin that judges one confirmation.

use super::Moment;
use super::finding::{Observation, Verdict};
use std::time::Duration;

/// What is believed of an origin. Nothing is born healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Not enough evidence yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// How many probes it takes to believe something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures that take an origin down.
    pub fall: u32,
    /// Successes in a row that bring it up.
    pub rise: u32,
}

/// The health machine of one origin (or one address family of it).
///
/// | state | becomes | when |
/// | --- | --- | --- |
/// | unknown | up | `rise` successes in a row |
/// | unknown, up | down | `fall` failures without `rise` successes in a row between them |
/// | down | up | `rise` successes in a row |
///
/// So an origin that fails every other probe does go down. Unknown findings
/// change nothing. Observations come in the order in which probes *started*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    state: State,
    successes: u32,
    failures: u32,
    first_failure: Option<Moment>,
    last_failure: Option<Moment>,
}

/// A change of state, worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What was believed before.
    pub from: State,
    /// What is believed now.
    pub to: State,
}

impl Health {
    /// What is believed now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes one observation; says whether the state changed.
    pub fn observe(&mut self, seen: &Observation, limits: Thresholds) -> Option<Transition> {
        let before = self.state;
        match seen.finding.verdict() {
            Verdict::Up => self.success(limits),
            Verdict::Down => self.failure(seen, limits),
            Verdict::Unknown => {}
        }
        (before != self.state).then_some(Transition {
            from: before,
            to: self.state,
        })
    }

    fn success(&mut self, limits: Thresholds) {
        self.successes = self.successes.saturating_add(1);
        if self.successes >= limits.rise {
            self.state = State::Up;
            self.failures = 0;
            self.first_failure = None;
            self.last_failure = None;
        }
    }

    fn failure(&mut self, seen: &Observation, limits: Thresholds) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.first_failure.get_or_insert(seen.started);
        self.last_failure = Some(seen.finished);
        if self.failures >= limits.fall {
            self.state = State::Down;
        }
    }

    /// Starts the counts again, after a gap in observation; the state stays
    /// what it was until new evidence changes it.
    pub fn restart_counts(&mut self) {
        *self = Health {
            state: self.state,
            ..Health::default()
        };
    }

    /// From the start of the first counted failure to the end of the last.
    fn failing_for(&self) -> Duration {
        match (self.first_failure, self.last_failure) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        }
    }
}

/// What a step of the rule may ask of an origin, and the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Accessible.
    Up,
    /// Not accessible.
    Down,
    /// It cannot be told.
    Unknown,
    /// It cannot be told yet: more probes are on their way.
    Pending,
}

impl From<State> for Answer {
    fn from(state: State) -> Answer {
        match state {
            State::Unknown => Answer::Unknown,
            State::Up => Answer::Up,
            State::Down => Answer::Down,
        }
    }
}

/// What the probes of one confirmation say of one origin: a health machine
/// that starts empty, so that nothing from before counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trial {
    health: Health,
    newest_is_success: bool,
    /// Probes that answered, whatever they found.
    pub probes: u32,
    /// Probes that found it down.
    pub failed: u32,
    /// Probes that were no evidence.
    pub unknown: u32,
}

impl Trial {
    /// Takes an observation whose probe started inside the confirmation.
    pub fn observe(&mut self, seen: &Observation, limits: Thresholds) {
        let verdict = seen.finding.verdict();
        self.health.observe(seen, limits);
        self.probes = self.probes.saturating_add(1);
        match verdict {
            Verdict::Up => self.newest_is_success = true,
            Verdict::Down => {
                self.newest_is_success = false;
                self.failed = self.failed.saturating_add(1);
            }
            Verdict::Unknown => {
                self.newest_is_success = false;
                self.unknown = self.unknown.saturating_add(1);
            }
        }
    }

    /// The answer so far. Failures must span `span` to count as down; up are
    /// `rise` successes in a row of which the last is the newest result. After `fall`
    /// probes that were no evidence it is settled that it cannot be told.
    #[must_use]
    pub fn answer(&self, span: Duration, limits: Thresholds) -> Answer {
        match self.health.state() {
            State::Up if self.newest_is_success && self.health.successes >= limits.rise => {
                Answer::Up
            }
            State::Down if self.health.failing_for() >= span => Answer::Down,
            State::Unknown if self.unknown >= limits.fall => Answer::Unknown,
            _ => Answer::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::finding::{Finding, Phases};

    const LIMITS: Thresholds = Thresholds { fall: 3, rise: 2 };

    fn seen(second: u64, letter: char) -> Observation {
        let finding = match letter {
            '+' => Finding::Connected {
                after: Duration::from_millis(1),
            },
            '-' => Finding::Refused,
            _ => Finding::Late(Duration::from_secs(2)),
        };
        Observation {
            started: Moment(Duration::from_secs(second)),
            finished: Moment(Duration::from_secs(second)),
            finding,
            phases: Phases::default(),
        }
    }

    fn after(probes: &str) -> State {
        let mut health = Health::default();
        for (second, letter) in (0..).zip(probes.chars()) {
            health.observe(&seen(second, letter), LIMITS);
        }
        health.state()
    }

    #[test]
    fn the_table_of_the_health_machine() {
        for (probes, state) in [
            ("", State::Unknown),
            ("+", State::Unknown),
            ("++", State::Up),
            ("--", State::Unknown),
            ("---", State::Down),
            ("++--", State::Up),
            ("++---", State::Down),
            ("++-+-+-", State::Down),
            ("++--++--", State::Up),
            ("---+", State::Down),
            ("---++", State::Up),
            ("---+-+", State::Down),
            ("++-?-?-", State::Down),
            ("+?+", State::Up),
            ("???????", State::Unknown),
        ] {
            assert_eq!(after(probes), state, "{probes}");
        }
    }

    #[test]
    fn a_gap_starts_the_counts_again_but_forgets_no_state() {
        let mut health = Health::default();
        for (second, letter) in (0..).zip("++--".chars()) {
            health.observe(&seen(second, letter), LIMITS);
        }
        health.restart_counts();
        for (second, letter) in (100..).zip("--".chars()) {
            health.observe(&seen(second, letter), LIMITS);
        }
        assert_eq!(health.state(), State::Up);
        health.observe(&seen(103, '-'), LIMITS);
        assert_eq!(health.state(), State::Down);
    }

    fn trial(probes: &str, span: u64) -> Answer {
        let mut trial = Trial::default();
        for (second, letter) in (0..).zip(probes.chars()) {
            trial.observe(&seen(second, letter), LIMITS);
        }
        trial.answer(Duration::from_secs(span), LIMITS)
    }

    #[test]
    fn the_table_of_a_trial() {
        for (probes, span, answer) in [
            ("", 0, Answer::Pending),
            ("--", 0, Answer::Pending),
            ("---", 0, Answer::Down),
            ("---", 10, Answer::Pending),
            ("----------", 10, Answer::Pending),
            ("-----------", 10, Answer::Down),
            ("-----++", 10, Answer::Up),
            ("-----++---", 2, Answer::Down),
            ("-----++---", 3, Answer::Pending),
            ("+", 0, Answer::Pending),
            ("++", 0, Answer::Up),
            ("++-", 0, Answer::Pending),
            ("++-+", 0, Answer::Pending),
            ("++-++", 0, Answer::Up),
            ("++?", 0, Answer::Pending),
            ("++?+", 0, Answer::Up),
            ("??", 0, Answer::Pending),
            ("???", 0, Answer::Unknown),
            ("???++", 0, Answer::Up),
        ] {
            assert_eq!(trial(probes, span), answer, "{probes} over {span} s");
        }
    }
}
