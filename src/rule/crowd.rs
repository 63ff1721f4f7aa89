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

#[cfg(test)]
mod tests {
    use super::*;

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
