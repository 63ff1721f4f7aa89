//! How many calls a token may make: our own count, and what Cloudflare tells.
//!
//! A call is counted from when it is granted until 300 s after its answer.
//! Cloudflare counted it somewhere in between, so that our count is never the
//! smaller one.

use super::ratelimit::Item;
use crate::failover::Urgency;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The window of the budget.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// Calls of one token in any second: Cloudflare takes 200 of one address.
const BURST: usize = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Ends of a window that lie so close are ends of the same one: Cloudflare
/// tells whole seconds.
const SAME: Duration = Duration::from_secs(2);

/// What a call is for; who comes first goes first when several wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    FlightWrite,
    FlightRead,
    ReturnWrite,
    ReturnRead,
    /// A question about the token itself.
    Check,
    SteadyRead,
}

impl Class {
    pub(super) const ALL: [Class; 6] = [
        Class::FlightWrite,
        Class::FlightRead,
        Class::ReturnWrite,
        Class::ReturnRead,
        Class::Check,
        Class::SteadyRead,
    ];

    pub(super) fn read(urgency: Urgency) -> Class {
        match urgency {
            Urgency::Flight => Class::FlightRead,
            Urgency::Return => Class::ReturnRead,
            Urgency::Steady => Class::SteadyRead,
        }
    }

    pub(super) fn write(urgency: Urgency) -> Class {
        match urgency {
            Urgency::Flight => Class::FlightWrite,
            Urgency::Return | Urgency::Steady => Class::ReturnWrite,
        }
    }

    /// What it leaves of the budget to those before it.
    fn leaves(self, reserve: usize) -> usize {
        match self {
            Class::FlightWrite => 0,
            Class::FlightRead => reserve,
            Class::ReturnWrite => reserve / 2,
            Class::ReturnRead | Class::Check => reserve + reserve / 2,
            Class::SteadyRead => 2 * reserve,
        }
    }
}

/// What Cloudflare told of one of its windows.
#[derive(Debug)]
struct Told {
    name: String,
    quota: usize,
    /// Calls it had left, less those of ours that it may not have seen yet.
    left: usize,
    /// How many calls of ours had been granted by then.
    granted: u64,
    ends: Instant,
    /// Calls in it that were not ours.
    others: usize,
}

impl Told {
    fn left_now(&self, granted: u64) -> usize {
        let since = usize::try_from(granted.saturating_sub(self.granted)).unwrap_or(usize::MAX);
        self.left.saturating_sub(since)
    }
}

/// Why a call has to wait, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) text: String,
    pub(super) left: Duration,
}

/// What is to be seen of a budget, in calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) limit: usize,
    /// Our own of the last 5 minutes, and those known to be others'.
    pub(super) used: usize,
    /// Others', in Cloudflare's present window, since we look.
    pub(super) foreign: usize,
    /// What Cloudflare last said was left.
    pub(super) remaining: Option<u64>,
}

/// The calls of one token.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// What reads leave for writes.
    reserve: usize,
    under_way: usize,
    steady_under_way: usize,
    /// When calls ended, within the window.
    ended: VecDeque<Instant>,
    steady_ended: VecDeque<Instant>,
    granted: u64,
    /// Cloudflare asked for silence until then.
    silent_until: Option<Instant>,
    told: Vec<Told>,
    remaining: Option<u64>,
    /// What was used when Cloudflare first told, until that window ends: it
    /// may have been ourselves, before a restart.
    before: Option<(usize, Instant)>,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Budget {
        let mut budget = Budget {
            limit: 0,
            reserve: 0,
            under_way: 0,
            steady_under_way: 0,
            ended: VecDeque::new(),
            steady_ended: VecDeque::new(),
            granted: 0,
            silent_until: None,
            told: Vec::new(),
            remaining: None,
            before: None,
        };
        budget.set_limit(limit);
        budget
    }

    /// Another number of calls in 5 minutes; what was counted stays.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        self.reserve = (self.limit / 10).max(2).min(self.limit - 1);
    }

    /// Grants a call, or says how long it has to wait and why.
    pub(super) fn take(&mut self, class: Class, now: Instant) -> Result<(), Wait> {
        self.prune(now);
        if let Some(left) = self.silence_left(now) {
            let text = format!(
                "Cloudflare asked for no calls for another {} s",
                left.as_secs() + 1
            );
            return Err(Wait { text, left });
        }
        let left = self.wait(class, now);
        if left.is_zero() {
            self.granted += 1;
            self.under_way += 1;
            self.steady_under_way += usize::from(class == Class::SteadyRead);
            return Ok(());
        }
        let text = format!(
            "the budget of {} calls in 5 minutes is used up for another {} s",
            self.limit,
            left.as_secs() + 1
        );
        Err(Wait { text, left })
    }

    /// A call that was granted has ended; one that was never sent counts no more.
    pub(super) fn end(&mut self, class: Class, sent: bool, now: Instant) {
        let steady = class == Class::SteadyRead;
        self.under_way -= 1;
        self.steady_under_way -= usize::from(steady);
        if !sent {
            self.granted -= 1;
            return;
        }
        self.ended.push_back(now);
        if steady {
            self.steady_ended.push_back(now);
        }
    }

    /// How long a call of this class has to wait for the counts.
    fn wait(&self, class: Class, now: Instant) -> Duration {
        let leaves = class.leaves(self.reserve);
        let allowed = self.limit.saturating_sub(leaves);
        let mut wait = freed(&self.ended, self.under_way, allowed.max(1), WINDOW, now);
        wait = wait.max(freed(&self.ended, self.under_way, BURST, SECOND, now));
        if class == Class::SteadyRead {
            let (ended, under_way) = (&self.steady_ended, self.steady_under_way);
            wait = wait.max(freed(ended, under_way, self.steady_share(now), WINDOW, now));
        }
        for told in self.told.iter().filter(|told| told.ends > now) {
            // A smaller window has a smaller reserve.
            let leaves = leaves * told.quota.min(self.limit) / self.limit;
            if told.left_now(self.granted) <= leaves {
                wait = wait.max(told.ends - now);
            }
        }
        wait
    }

    /// Steady reads in 5 minutes: half of what others leave.
    pub(super) fn steady_share(&self, now: Instant) -> usize {
        (self.limit.saturating_sub(self.others(now)) / 2).max(1)
    }

    /// Takes in what an answer tells of Cloudflare's windows. The call that it
    /// answers is still under way.
    pub(super) fn tell(&mut self, items: &[Item], now: Instant) {
        self.prune(now);
        self.remaining = items.iter().map(|item| item.left).min().or(self.remaining);
        for item in items {
            let fresh = self.told_by(item, now);
            let same = |old: &&mut Told| {
                let apart = old.ends.max(fresh.ends) - old.ends.min(fresh.ends);
                old.name == fresh.name && apart <= SAME
            };
            match self.told.iter_mut().find(same) {
                // Answers may come out of order: the smaller remainder is the newer.
                Some(old) => {
                    old.left = old.left_now(self.granted).min(fresh.left);
                    old.granted = fresh.granted;
                    old.others = fresh.others;
                }
                None => {
                    self.told.retain(|old| old.name != fresh.name);
                    self.told.push(fresh);
                }
            }
        }
        if self.before.is_none()
            && let Some(ends) = self.told.iter().map(|told| told.ends).max()
        {
            self.before = Some((self.others(now), ends));
        }
    }

    fn told_by(&self, item: &Item, now: Instant) -> Told {
        let quota = item.quota.map_or(self.limit, as_count);
        let window = item.window.unwrap_or(WINDOW);
        // Told in whole seconds, rounded up.
        let passed = window.saturating_sub(item.resets) + SECOND;
        let ours = match now.checked_sub(passed) {
            Some(began) => self.ended.len() - self.ended.partition_point(|&at| at < began),
            None => self.ended.len(),
        };
        let left = as_count(item.left);
        Told {
            name: item.name.clone(),
            quota,
            left: left.saturating_sub(self.under_way.saturating_sub(1)),
            granted: self.granted,
            ends: now + item.resets,
            others: quota
                .saturating_sub(left)
                .saturating_sub(ours + self.under_way),
        }
    }

    /// Another token: what Cloudflare told was told of the one before. Our own
    /// count stays, as both may be the same user's.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
        self.remaining = None;
        self.before = None;
    }

    /// What is to be seen of it now.
    pub(super) fn seen(&mut self, now: Instant) -> Seen {
        self.prune(now);
        Seen {
            limit: self.limit,
            used: self.ended.len() + self.under_way + self.others(now),
            foreign: self.foreign(now),
            remaining: self.remaining,
        }
    }

    fn others(&self, now: Instant) -> usize {
        let present = self.told.iter().filter(|told| told.ends > now);
        present.map(|told| told.others).max().unwrap_or(0)
    }

    fn foreign(&self, now: Instant) -> usize {
        let before = self.before.filter(|(_, until)| *until > now);
        self.others(now)
            .saturating_sub(before.map_or(0, |(calls, _)| calls))
    }

    fn prune(&mut self, now: Instant) {
        for ended in [&mut self.ended, &mut self.steady_ended] {
            let old = ended.partition_point(|&at| now.saturating_duration_since(at) >= WINDOW);
            ended.drain(..old);
        }
        self.told.retain(|told| told.ends > now);
    }

    /// How long Cloudflare still wants no calls.
    pub(super) fn silence_left(&self, now: Instant) -> Option<Duration> {
        let left = self.silent_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Cloudflare throttles us: no calls before this.
    pub(super) fn silence(&mut self, until: Instant) {
        self.silent_until = self.silent_until.max(Some(until));
    }
}

fn as_count(calls: u64) -> usize {
    usize::try_from(calls).unwrap_or(usize::MAX)
}

/// How long until fewer than `allowed` calls count in a window.
fn freed(
    ended: &VecDeque<Instant>,
    under_way: usize,
    allowed: usize,
    window: Duration,
    now: Instant,
) -> Duration {
    let recent = ended.partition_point(|&at| now.saturating_duration_since(at) >= window);
    let counted = ended.len() - recent + under_way;
    if counted < allowed {
        return Duration::ZERO;
    }
    // If those under way fill it alone, the first of them is yet to end.
    let last = ended.get(recent + counted - allowed).copied();
    (last.unwrap_or(now) + window).saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(budget: &mut Budget, class: Class, now: Instant) -> bool {
        let granted = budget.take(class, now).is_ok();
        if granted {
            budget.end(class, true, now);
        }
        granted
    }

    /// As many as go, in seconds of their own: bursts are another matter.
    fn taken(budget: &mut Budget, class: Class, now: Instant) -> usize {
        (0..10_000).take_while(|_| take(budget, class, now)).count()
    }

    fn item(left: u64, resets: u64) -> Item {
        Item {
            name: "default".into(),
            left,
            resets: Duration::from_secs(resets),
            quota: Some(20),
            window: Some(WINDOW),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_class_leaves_to_those_before_it() {
        let mut budget = Budget::new(40);
        let start = Instant::now();
        assert_eq!(taken(&mut budget, Class::SteadyRead, start), 20);
        assert_eq!(taken(&mut budget, Class::ReturnRead, start), 14);
        assert_eq!(taken(&mut budget, Class::FlightRead, start), 2);
        assert_eq!(taken(&mut budget, Class::ReturnWrite, start), 2);
        assert_eq!(taken(&mut budget, Class::FlightWrite, start), 2);
        let wait = budget.take(Class::FlightWrite, start).unwrap_err();
        assert_eq!(wait.left, WINDOW);
        assert_eq!(
            wait.text,
            "the budget of 40 calls in 5 minutes is used up for another 301 s"
        );
        assert_eq!(taken(&mut budget, Class::SteadyRead, start + WINDOW), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_until_a_window_after_its_end() {
        let mut budget = Budget::new(10);
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        for _ in 0..10 {
            budget.take(Class::FlightWrite, start).unwrap();
        }
        for _ in 0..10 {
            budget.end(Class::FlightWrite, true, later);
        }
        assert!(budget.take(Class::FlightWrite, start + WINDOW).is_err());
        assert!(budget.take(Class::FlightWrite, later + WINDOW).is_ok());
        budget.end(Class::FlightWrite, false, later + WINDOW);
        assert_eq!(taken(&mut budget, Class::FlightWrite, later + WINDOW), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_too_many_calls() {
        let mut budget = Budget::new(1200);
        let start = Instant::now();
        assert_eq!(taken(&mut budget, Class::FlightWrite, start), BURST);
        assert_eq!(
            budget.take(Class::FlightWrite, start).unwrap_err().left,
            SECOND
        );
        assert_eq!(
            taken(&mut budget, Class::FlightWrite, start + SECOND),
            BURST
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_cloudflare_says_is_left_is_believed_when_it_is_less() {
        let mut budget = Budget::new(20);
        let start = Instant::now();
        assert!(budget.take(Class::FlightWrite, start).is_ok());
        budget.tell(&[item(4, 30)], start);
        budget.end(Class::FlightWrite, true, start);
        // Four are left, of which reads leave two.
        assert_eq!(taken(&mut budget, Class::SteadyRead, start), 0);
        assert_eq!(taken(&mut budget, Class::FlightRead, start), 2);
        assert_eq!(taken(&mut budget, Class::FlightWrite, start), 2);
        let wait = budget.take(Class::FlightWrite, start).unwrap_err();
        assert_eq!(wait.left, Duration::from_secs(30));
        // When its window is over, our own count holds again.
        let next = start + Duration::from_secs(30);
        assert_eq!(taken(&mut budget, Class::FlightWrite, next), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_answer_that_comes_later_gives_nothing_back() {
        let mut budget = Budget::new(20);
        let start = Instant::now();
        budget.take(Class::FlightWrite, start).unwrap();
        budget.tell(&[item(2, 30)], start);
        budget.tell(&[item(9, 31)], start);
        budget.end(Class::FlightWrite, true, start);
        assert_eq!(taken(&mut budget, Class::FlightWrite, start), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_not_ours_are_seen_and_what_was_before_us_is_not_held_against_others() {
        let mut budget = Budget::new(20);
        let start = Instant::now();
        let mut told = |left, resets, now| {
            budget.take(Class::FlightWrite, now).unwrap();
            budget.tell(&[item(left, resets)], now);
            budget.end(Class::FlightWrite, true, now);
            budget.seen(now)
        };
        // Nine calls before our first: perhaps our own, before a restart.
        let seen = told(10, 200, start);
        assert_eq!((seen.used, seen.foreign), (10, 0));
        let seen = told(4, 199, start + SECOND);
        assert_eq!((seen.used, seen.foreign), (16, 5));
        assert_eq!(seen.remaining, Some(4));
        // A new window of Cloudflare's: seven calls of others.
        let next = start + Duration::from_secs(210);
        let seen = told(12, 290, next);
        assert_eq!((seen.used, seen.foreign), (10, 7));
        let over = next + Duration::from_secs(290);
        assert_eq!(budget.seen(over).foreign, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_window_beside_ours_has_a_small_reserve() {
        let mut budget = Budget::new(1200);
        let now = Instant::now();
        let burst = Item {
            name: "burst".into(),
            left: 100,
            resets: Duration::from_secs(60),
            quota: Some(100),
            window: Some(Duration::from_secs(60)),
        };
        budget.tell(&[burst], now);
        assert_eq!(taken(&mut budget, Class::FlightRead, now), 90);
        assert_eq!(taken(&mut budget, Class::FlightWrite, now), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_that_cloudflare_asked_for_is_kept() {
        let mut budget = Budget::new(1200);
        let now = Instant::now();
        budget.silence(now + Duration::from_secs(30));
        let wait = budget.take(Class::FlightWrite, now).unwrap_err();
        assert_eq!(wait.left, Duration::from_secs(30));
        assert_eq!(wait.text, "Cloudflare asked for no calls for another 31 s");
        assert!(take(&mut budget, Class::FlightRead, now + wait.left));
    }
}
