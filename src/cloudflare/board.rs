//! What is known of all tokens, brought together for metrics.

use crate::metrics::Metrics;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of one token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    pub(super) valid: Option<bool>,
    pub(super) expires: Option<Timestamp>,
}

/// What is known of all tokens; metrics show the worst of it.
pub(super) struct Board {
    states: Mutex<Vec<State>>,
    metrics: Arc<Metrics>,
}

impl Board {
    pub(super) fn new(tokens: usize, metrics: Arc<Metrics>) -> Arc<Board> {
        metrics.token_unknown();
        let states = Mutex::new(vec![State::default(); tokens]);
        Arc::new(Board { states, metrics })
    }

    /// The place of one token.
    pub(super) fn place(self: &Arc<Self>, place: usize) -> Shown {
        let board = self.clone();
        Shown { board, place }
    }
}

/// One token's place on the board.
pub(super) struct Shown {
    board: Arc<Board>,
    place: usize,
}

impl Shown {
    /// Changes what is known of the token. Metrics say that all are good, or
    /// that one is not, and when the first of them ends.
    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        let states = self.board.states.lock();
        let mut states = states.unwrap_or_else(PoisonError::into_inner);
        change(&mut states[self.place]);
        let any_bad = states.iter().any(|state| state.valid == Some(false));
        let all_good = states.iter().all(|state| state.valid == Some(true));
        let metrics = &self.board.metrics;
        if any_bad || all_good {
            metrics.token_valid(all_good);
        } else {
            metrics.token_unknown();
        }
        metrics.token_expiry(states.iter().filter_map(|state| state.expires).min());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(metrics: &Metrics, name: &str) -> Option<f64> {
        let text = String::from_utf8(metrics.text()).unwrap();
        let name = format!("originswitch_cloudflare_token_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map(|value| value.parse().unwrap())
    }

    #[test]
    fn metrics_show_the_worst_token_and_the_first_end() {
        let metrics = Metrics::new();
        let board = Board::new(2, metrics.clone());
        let [one, two] = [0, 1].map(|place| board.place(place));
        one.set(|state| state.valid = Some(true));
        assert_eq!(gauge(&metrics, "valid"), None, "one is not known yet");
        two.set(|state| state.valid = Some(true));
        assert_eq!(gauge(&metrics, "valid"), Some(1.0));
        two.set(|state| state.valid = Some(false));
        assert_eq!(gauge(&metrics, "valid"), Some(0.0));
        one.set(|state| *state = State::default());
        assert_eq!(gauge(&metrics, "valid"), Some(0.0));
        let ends = |at: i64| Some(Timestamp::from_second(at).unwrap());
        one.set(|state| state.expires = ends(2000));
        two.set(|state| state.expires = ends(1000));
        assert_eq!(gauge(&metrics, "expiry_timestamp_seconds"), Some(1000.0));
        two.set(|state| *state = State::default());
        assert_eq!(gauge(&metrics, "expiry_timestamp_seconds"), Some(2000.0));
        assert_eq!(gauge(&metrics, "valid"), None);
    }
}
