//! What protects an origin from all its sites at once: turns of those that come
//! home, waves of those that flee.

use super::brakes::seconds;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// A return that has its turn, but not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// When it comes.
    pub at: Timestamp,
    /// Where the sites return to, as people read it.
    pub target: Arc<str>,
    /// Over how long their returns are spread.
    pub spread: Duration,
}

impl Turn {
    /// Half a sentence: what is waited for, and until when.
    #[must_use]
    pub fn clause(&self) -> String {
        format!(
            "returns to {} are spread over {}: this site's turn comes at {:.0}",
            self.target,
            seconds(self.spread),
            self.at
        )
    }
}

/// The wave that keeps a flight from an origin: others have just moved there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The sites in it.
    pub moved: usize,
    /// The origin, as people read it.
    pub target: Arc<str>,
    /// When the next one goes, once that is known.
    pub until: Option<Timestamp>,
}

impl Wave {
    /// Half a sentence: who has moved, and what is waited for.
    #[must_use]
    pub fn clause(&self) -> String {
        let (sites, have) = match self.moved {
            1 => ("site", "has"),
            _ => ("sites", "have"),
        };
        let when = match self.until {
            Some(at) => format!("at {at:.0}"),
            None => "when they have arrived".into(),
        };
        format!(
            "{} {sites} {have} just moved to {}: the next wave goes {when}, while it still answers",
            self.moved, self.target
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_says_who_moved_where_and_when_the_next_one_goes() {
        let mut wave = Wave {
            moved: 10,
            target: "198.51.100.20".into(),
            until: Some("2026-11-23T03:20:41Z".parse().unwrap()),
        };
        assert_eq!(
            wave.clause(),
            "10 sites have just moved to 198.51.100.20: \
             the next wave goes at 2026-11-23T03:20:41Z, while it still answers"
        );
        (wave.moved, wave.until) = (1, None);
        assert_eq!(
            wave.clause(),
            "1 site has just moved to 198.51.100.20: \
             the next wave goes when they have arrived, while it still answers"
        );
    }

    #[test]
    fn a_turn_says_where_to_over_how_long_and_when() {
        let turn = Turn {
            at: "2026-11-23T03:20:41Z".parse().unwrap(),
            target: "192.0.2.10".into(),
            spread: Duration::from_secs(300),
        };
        assert_eq!(
            turn.clause(),
            "returns to 192.0.2.10 are spread over 5 min: \
             this site's turn comes at 2026-11-23T03:20:41Z"
        );
    }
}
