//! Probes of one address under way: mostly none, or one.

use crate::rule::finding::Observation;
use std::collections::VecDeque;
use tokio::task::AbortHandle;

/// A probe's result, with the confirmation it was started for.
pub(super) struct Landed {
    pub(super) seen: Observation,
    pub(super) confirming: Option<u64>,
}

enum Flight {
    UnderWay(AbortHandle),
    Landed(Box<Landed>),
    /// It ended without a result.
    Lost,
}

/// Probes under way, whose results are taken in the order in which they started.
#[derive(Default)]
pub(super) struct Flights {
    /// The number of the first of them.
    first: u64,
    flights: VecDeque<Flight>,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// The number of the next one to start.
    pub(super) fn next(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    /// The next one has started.
    pub(super) fn push(&mut self, flight: AbortHandle) {
        self.flights.push_back(Flight::UnderWay(flight));
    }

    /// That one has ended, with a result or without.
    pub(super) fn ends(&mut self, number: u64, landed: Option<Landed>) {
        let at = number.checked_sub(self.first);
        let flight = at.and_then(|at| self.flights.get_mut(usize::try_from(at).ok()?));
        if let Some(flight @ Flight::UnderWay(_)) = flight {
            *flight = landed.map_or(Flight::Lost, |landed| Flight::Landed(Box::new(landed)));
        }
    }

    /// The next result, if that of none that started before it is still out.
    pub(super) fn take(&mut self) -> Option<Landed> {
        while let Some(Flight::Landed(_) | Flight::Lost) = self.flights.front() {
            self.first += 1;
            if let Some(Flight::Landed(landed)) = self.flights.pop_front() {
                return Some(*landed);
            }
        }
        if self.flights.is_empty() {
            // Of twenty thousand probers most have none under way.
            self.flights = VecDeque::new();
        }
        None
    }

    /// Gives them all up.
    pub(super) fn abort(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.first += 1;
            if let Flight::UnderWay(flight) = flight {
                flight.abort();
            }
        }
    }
}
