//! Probes of one address under way: mostly none, or one.

use super::Landed;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

type Flight = BoxFuture<'static, Landed>;

/// Probes under way, whose results come in the order in which they started.
#[derive(Default)]
pub(super) enum Flights {
    #[default]
    None,
    One(Flight),
    Many(Box<FuturesOrdered<Flight>>),
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        match self {
            Flights::None => 0,
            Flights::One(_) => 1,
            Flights::Many(flights) => flights.len(),
        }
    }

    pub(super) fn push(&mut self, flight: Flight) {
        *self = match std::mem::take(self) {
            Flights::None => Flights::One(flight),
            Flights::One(first) => Flights::Many(Box::new([first, flight].into_iter().collect())),
            Flights::Many(mut flights) => {
                flights.push_back(flight);
                Flights::Many(flights)
            }
        };
    }

    /// The next result; for ever, if there is none under way.
    pub(super) async fn next(&mut self) -> Landed {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Landed> {
        let (landed, over) = match self {
            Flights::None => return Poll::Pending,
            Flights::One(flight) => (ready!(flight.as_mut().poll(context)), true),
            Flights::Many(flights) => match ready!(flights.poll_next_unpin(context)) {
                Some(landed) => (landed, flights.is_empty()),
                None => return Poll::Pending,
            },
        };
        if over {
            *self = Flights::None;
        }
        Poll::Ready(landed)
    }
}
