//! What the disk refused and still has to hold.

use super::orders::Order;
use std::collections::{HashMap, VecDeque};

/// Rows of history that are remembered while the disk takes none.
pub(super) const MOST: usize = 10_000;

/// Orders that wait for the disk: history in its order, and of everything
/// else the latest.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    history: VecDeque<Order>,
    latest: HashMap<(u8, String, String), Order>,
    dropped: bool,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.history.len() + self.latest.len()
    }

    /// Takes in what is worth it. An intent is not: its caller knows that it
    /// was not stored, and records the outcome instead.
    pub(super) fn push(&mut self, order: Order) {
        if let Some(key) = order.key() {
            self.latest.insert(key, order);
        } else if order.is_history() {
            self.history.push_back(order);
            self.bound();
        }
    }

    /// Removes the first `count`.
    pub(super) fn take(&mut self, count: usize) -> Vec<Order> {
        let some = count.min(self.history.len());
        let mut taken: Vec<Order> = self.history.drain(..some).collect();
        let keys: Vec<_> = self.latest.keys().take(count - some).cloned().collect();
        taken.extend(keys.iter().filter_map(|key| self.latest.remove(key)));
        taken
    }

    /// Undoes [`Backlog::take`].
    pub(super) fn put_back(&mut self, orders: Vec<Order>) {
        for order in orders.into_iter().rev() {
            match order.key() {
                Some(key) => drop(self.latest.entry(key).or_insert(order)),
                None => self.history.push_front(order),
            }
        }
    }

    /// The oldest decision makes room, and not the outcome of a switch: that
    /// one's row is in the file and would stay open.
    fn bound(&mut self) {
        if self.history.len() <= MOST {
            return;
        }
        let oldest = self
            .history
            .iter()
            .position(|order| !matches!(order, Order::Conclude(..)));
        drop(self.history.remove(oldest.unwrap_or(0)));
        if !std::mem::replace(&mut self.dropped, true) {
            tracing::error!("more history waits for the state file than fits: the oldest is lost");
        }
    }
}
