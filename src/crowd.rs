//! Everybody who probes one address: how many at once, and what the dials of
//! some of them tell the others.
//!
//! A thousand sites may live at one address. Their probes must not be the
//! death of it, and need not all be told the same: that nothing listens at a
//! port, or that no route leads there, does not depend on whose site is asked
//! for. What comes after the connection does, and is never shared.

use crate::rule::finding::{Finding, Phase};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A refused dial counts for probes that start within this time of its begin.
const TOLD_FOR: Duration = Duration::from_secs(1);

/// Crowds are looked through for empty ones whenever there are twice as many.
const TIDY_AT: usize = 64;

/// All crowds, by address. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Crowds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    crowds: Mutex<HashMap<String, Weak<Crowd>>>,
    most: AtomicUsize,
}

/// Those who probe one address.
#[derive(Debug)]
struct Crowd {
    places: Arc<Semaphore>,
    ports: Mutex<Vec<Port>>,
    /// A dial failed in a way that tells the others something.
    failed: Notify,
}

/// What the last dials of one port came to.
#[derive(Debug)]
struct Port {
    port: u16,
    dials: u64,
    refused: Option<Refusal>,
    silent: Option<Silence>,
    /// When a connection last came about.
    connected: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Refusal {
    began: Instant,
    dial: u64,
    finding: Finding,
}

/// A dial that nothing answered within its limit.
#[derive(Debug, Clone, Copy)]
struct Silence {
    began: Instant,
    limit: Duration,
}

/// The way of one prober into the crowd.
#[derive(Debug)]
pub struct Gate {
    crowd: Arc<Crowd>,
    port: u16,
    limit: Duration,
    /// The dial that it was told of last, or its own: none counts twice for it.
    used: AtomicU64,
}

/// How a probe begins.
#[derive(Debug)]
pub enum Entered {
    /// It dials; the place is its own until this is dropped.
    Dials(OwnedSemaphorePermit),
    /// Another's dial, begun then, has told already what it would find.
    Told(Finding, Instant),
}

impl Crowds {
    /// Crowds in which so many probes may be under way to one address.
    #[must_use]
    pub fn new(most: usize) -> Crowds {
        Crowds(Arc::new(Inner {
            crowds: Mutex::default(),
            most: AtomicUsize::new(most),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Crowd>>> {
        let crowds = self.0.crowds.lock();
        crowds.unwrap_or_else(PoisonError::into_inner)
    }

    /// The way of a new prober of this address and port, whose probes may take
    /// `limit`.
    #[must_use]
    pub fn gate(&self, address: &str, port: u16, limit: Duration) -> Gate {
        let mut crowds = self.lock();
        let known = crowds.get(address).and_then(Weak::upgrade);
        let crowd = known.unwrap_or_else(|| {
            if crowds.len() >= TIDY_AT && crowds.len().is_power_of_two() {
                crowds.retain(|_, crowd| crowd.strong_count() > 0);
            }
            let most = self.0.most.load(Ordering::Relaxed);
            let crowd = Arc::new(Crowd::new(most));
            crowds.insert(address.to_owned(), Arc::downgrade(&crowd));
            crowd
        });
        Gate {
            crowd,
            port,
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Another number of probes that may be under way to one address.
    pub fn set(&self, most: usize) {
        let crowds = self.lock();
        let before = self.0.most.swap(most, Ordering::Relaxed);
        for crowd in crowds.values().filter_map(Weak::upgrade) {
            resize(&crowd.places, before, most);
        }
    }
}

/// Changes a number of places; those in use are taken away as they come back.
pub fn resize(places: &Arc<Semaphore>, before: usize, now: usize) {
    if now >= before {
        places.add_permits(now - before);
        return;
    }
    let surplus = u32::try_from(before - now).unwrap_or(u32::MAX);
    let places = places.clone();
    tokio::spawn(async move {
        if let Ok(taken) = places.acquire_many(surplus).await {
            taken.forget();
        }
    });
}

impl Crowd {
    fn new(most: usize) -> Crowd {
        Crowd {
            places: Arc::new(Semaphore::new(most)),
            ports: Mutex::default(),
            failed: Notify::new(),
        }
    }

    /// Works on what is known of a port.
    fn port<T>(&self, port: u16, work: impl FnOnce(&mut Port) -> T) -> T {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ports.iter().position(|known| known.port == port);
        let at = at.unwrap_or_else(|| {
            // Mostly there is one.
            ports.reserve_exact(1);
            ports.push(Port {
                port,
                dials: 0,
                refused: None,
                silent: None,
                connected: None,
            });
            ports.len() - 1
        });
        work(&mut ports[at])
    }
}

impl Gate {
    /// Waits for a place, or until another's dial has told what this one would
    /// find. First come, first served.
    pub async fn enter(&self) -> Entered {
        let since = Instant::now();
        if let Some(told) = self.told(since) {
            return told;
        }
        match self.crowd.places.clone().try_acquire_owned() {
            Ok(place) => Entered::Dials(place),
            // Boxed, as it is rare.
            Err(_) => Box::pin(self.queue(since)).await,
        }
    }

    async fn queue(&self, since: Instant) -> Entered {
        let mut place = pin!(self.crowd.places.clone().acquire_owned());
        loop {
            let mut failed = pin!(self.crowd.failed.notified());
            failed.as_mut().enable();
            if let Some(told) = self.told(since) {
                return told;
            }
            tokio::select! {
                biased;
                Ok(place) = &mut place => return Entered::Dials(place),
                () = failed => {}
            }
        }
    }

    /// What others' dials tell one that wants to dial since then.
    fn told(&self, since: Instant) -> Option<Entered> {
        let used = self.used.load(Ordering::Relaxed);
        let (refused, silent) = self.crowd.port(self.port, |port| {
            let refused = port.refused.clone();
            (refused.filter(|it| it.dial != used), port.silence())
        });
        if let Some(refusal) = refused.filter(|it| it.began.elapsed() < TOLD_FOR) {
            self.used.store(refusal.dial, Ordering::Relaxed);
            return Some(Entered::Told(refusal.finding, Instant::now()));
        }
        // Who waits longer than a dial takes that began since, and that nothing
        // answered, need not dial as well: the place is silent, and so is it.
        let silence = silent.filter(|it| it.began >= since && it.limit >= self.limit)?;
        let finding = Finding::Timeout {
            phase: Phase::Connect,
            limit: silence.limit,
        };
        Some(Entered::Told(finding, silence.began))
    }

    /// A dial of this prober, begun then, has ended in this way; `None` is a
    /// connection. What speaks of our own side tells nobody anything.
    pub fn dialled(&self, began: Instant, failed: Option<&Finding>) {
        let tells = self.crowd.port(self.port, |port| {
            port.dials += 1;
            match failed {
                None => {
                    port.connected = Some(Instant::now());
                    port.refused = None;
                    return false;
                }
                Some(finding @ (Finding::Refused | Finding::Unreachable)) => {
                    self.used.store(port.dials, Ordering::Relaxed);
                    port.refused = Some(Refusal {
                        began,
                        dial: port.dials,
                        finding: finding.clone(),
                    });
                }
                Some(&Finding::Timeout {
                    phase: Phase::Connect,
                    limit,
                }) => port.silent = Some(Silence { began, limit }),
                Some(_) => return false,
            }
            true
        });
        if tells {
            self.crowd.failed.notify_waiters();
        }
    }
}

impl Port {
    /// The last dial that nothing answered, unless another was since it began.
    fn silence(&self) -> Option<Silence> {
        self.silent
            .filter(|silence| self.connected.is_none_or(|at| at < silence.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn gates(most: usize, number: usize) -> Vec<Gate> {
        let crowds = Crowds::new(most);
        let gate = |_| crowds.gate("192.0.2.10", 443, LIMIT);
        (0..number).map(gate).collect()
    }

    fn told(entered: &Entered) -> Option<&Finding> {
        match entered {
            Entered::Told(finding, _) => Some(finding),
            Entered::Dials(_) => None,
        }
    }

    fn silent() -> Finding {
        Finding::Timeout {
            phase: Phase::Connect,
            limit: LIMIT,
        }
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_all_within_a_second_and_once_for_each() {
        let gates = gates(32, 3);
        let began = Instant::now();
        assert!(told(&gates[0].enter().await).is_none());
        gates[0].dialled(began, Some(&Finding::Refused));
        assert!(told(&gates[0].enter().await).is_none(), "it is its own");
        pass(900).await;
        assert_eq!(told(&gates[1].enter().await), Some(&Finding::Refused));
        assert!(told(&gates[1].enter().await).is_none(), "once");
        pass(100).await;
        assert!(told(&gates[2].enter().await).is_none(), "a second old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_what_a_refusal_tells_and_other_ports_are_others() {
        let crowds = Crowds::new(32);
        let [one, two, other] = [443, 443, 8443].map(|port| crowds.gate("192.0.2.10", port, LIMIT));
        one.dialled(Instant::now(), Some(&Finding::Unreachable));
        assert!(told(&other.enter().await).is_none());
        two.dialled(Instant::now(), None);
        assert!(told(&two.enter().await).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_speaks_of_us_or_of_one_site_is_not_shared() {
        let gates = gates(32, 2);
        for finding in [
            Finding::Local("no sockets".into()),
            Finding::Body,
            silent(),
            Finding::Certificate("x".into()),
        ] {
            let began = Instant::now();
            pass(1).await;
            gates[0].dialled(began, Some(&finding));
            assert!(told(&gates[1].enter().await).is_none(), "{finding}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_dial_than_may_and_who_came_first_goes_first() {
        let gates = gates(2, 4);
        let first = gates[0].enter().await;
        let _second = gates[1].enter().await;
        let mut third = pin!(gates[2].enter());
        let mut fourth = pin!(gates[3].enter());
        let patience = Duration::from_secs(60);
        assert!(tokio::time::timeout(patience, &mut third).await.is_err());
        assert!(tokio::time::timeout(patience, &mut fourth).await.is_err());
        drop(first);
        let Entered::Dials(place) = third.await else {
            panic!("nothing was dialled")
        };
        assert!(tokio::time::timeout(patience, &mut fourth).await.is_err());
        drop(place);
        assert!(told(&fourth.await).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_a_dial_is_silent_from_begin_to_end_need_not_dial() {
        let gates = gates(1, 3);
        let place = gates[0].enter().await;
        let earlier = Instant::now();
        pass(500).await;
        let mut waits = pin!(gates[2].enter());
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut waits)
                .await
                .is_err()
        );
        // This one began before.
        gates[0].dialled(earlier, Some(&silent()));
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut waits)
                .await
                .is_err()
        );
        let began = Instant::now();
        pass(2_000).await;
        gates[1].dialled(began, Some(&silent()));
        let Entered::Told(finding, at) = waits.await else {
            panic!("it dials")
        };
        assert_eq!((finding, at), (silent(), began));
        drop(place);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_tells_nothing_where_somebody_else_came_through() {
        let gates = gates(1, 3);
        let _place = gates[0].enter().await;
        let mut waits = pin!(gates[2].enter());
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut waits)
                .await
                .is_err()
        );
        let began = Instant::now();
        pass(1_000).await;
        gates[1].dialled(Instant::now(), None);
        pass(1_000).await;
        gates[0].dialled(began, Some(&silent()));
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut waits)
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_places_can_be_changed() {
        let crowds = Crowds::new(1);
        let gate = crowds.gate("192.0.2.10", 443, LIMIT);
        let _first = gate.enter().await;
        crowds.set(2);
        let second = gate.enter().await;
        crowds.set(1);
        drop(second);
        pass(1).await;
        let third = tokio::time::timeout(Duration::from_secs(1), gate.enter()).await;
        assert!(third.is_err());
        assert_eq!(
            crowds
                .gate("192.0.2.20", 443, LIMIT)
                .crowd
                .places
                .available_permits(),
            1
        );
    }
}
