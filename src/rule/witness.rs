//! What else is asked before an origin is believed to be down: whether we see
//! anything at all, and what the edge sees.

use super::health::Answer;

/// Whether our own network reaches anything: what the control targets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sight {
    /// Enough of them answer, or none are configured.
    #[default]
    Clear,
    /// Not enough have answered yet, and more may.
    Pending,
    /// Fewer answer than are needed: it may be us.
    Blind,
}

impl Sight {
    /// What may be believed of an answer: while we do not see, nothing that
    /// does not reach us is down.
    #[must_use]
    pub fn believe(self, answer: Answer) -> Answer {
        match (self, answer) {
            (Sight::Blind, Answer::Down) => Answer::Unknown,
            (Sight::Pending, Answer::Down) => Answer::Pending,
            (_, answer) => answer,
        }
    }

    /// What so many targets say, of which `needed` must answer: those that
    /// did, those that did not, and those that have not been heard of.
    #[must_use]
    pub fn of(answered: usize, failed: usize, unheard: usize, needed: usize) -> Sight {
        if answered + failed + unheard == 0 || answered >= needed {
            Sight::Clear
        } else if answered + unheard >= needed {
            Sight::Pending
        } else {
            Sight::Blind
        }
    }
}

/// What is seen of the site through the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Edge {
    /// Nobody asks, or what it would say is about another origin.
    #[default]
    Off,
    /// It has been asked, and has not answered yet.
    Pending,
    /// It serves the site: an expected answer that no cache gave.
    Serves,
    /// It answers with this 5xx.
    Fails(u16),
    /// No answer within the time limit.
    Silent,
    /// An answer that says nothing of the origin: cached, challenged, redirected.
    Abstains,
}

impl Edge {
    /// Whether it says that the edge does not reach the origin either.
    #[must_use]
    pub fn concurs(self) -> bool {
        matches!(self, Edge::Fails(521..=523))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_answers_are_blindness_only_when_no_more_can_come() {
        for (answered, failed, unheard, needed, sight) in [
            (0, 0, 0, 1, Sight::Clear),
            (1, 0, 0, 1, Sight::Clear),
            (1, 2, 0, 1, Sight::Clear),
            (0, 1, 1, 1, Sight::Pending),
            (0, 2, 0, 1, Sight::Blind),
            (1, 1, 0, 2, Sight::Blind),
            (1, 0, 1, 2, Sight::Pending),
            (2, 1, 0, 2, Sight::Clear),
        ] {
            let said = Sight::of(answered, failed, unheard, needed);
            assert_eq!(said, sight, "{answered} {failed} {unheard} of {needed}");
        }
    }

    #[test]
    fn blindness_takes_down_away_and_nothing_else() {
        use Answer::{Down, Pending, Unknown, Up};
        for answer in [Up, Unknown, Pending] {
            assert_eq!(Sight::Blind.believe(answer), answer);
            assert_eq!(Sight::Pending.believe(answer), answer);
        }
        assert_eq!(Sight::Blind.believe(Down), Unknown);
        assert_eq!(Sight::Pending.believe(Down), Pending);
        assert_eq!(Sight::Clear.believe(Down), Down);
    }
}
