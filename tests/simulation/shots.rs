//! What the probes of one prober say: the judge's own reading of them, from
//! the words of the design and not from the code.

use originswitch::rule::finding::Verdict;
use std::time::Duration;

/// One probe.
#[derive(Debug, Clone, Copy)]
pub struct Shot {
    pub started: Duration,
    pub landed: Option<(Duration, Verdict)>,
}

/// What all probes of a prober say: its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Believed {
    #[default]
    Nothing,
    Up,
    Down,
}

/// The probes of one prober, in the order in which they were launched.
#[derive(Debug, Default)]
pub struct Shots {
    shots: Vec<Shot>,
    /// Those whose results have been taken: in order, without a hole.
    taken: usize,
    successes: u32,
    failures: u32,
    pub believed: Believed,
    /// Whether it was ever believed to be up.
    pub ever_up: bool,
    /// When it was last found up.
    pub last_up: Duration,
    /// When it was last believed to be down.
    pub last_down: Option<Duration>,
    /// Since when it was, then.
    pub down_since: Option<Duration>,
    /// What the wall clock was set by when the last probe was launched.
    offset: i64,
    /// Times before which nothing is joined to what comes after.
    gaps: Vec<Duration>,
}

/// How many of what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub fall: u32,
    pub rise: u32,
}

/// An outage as the probes of a confirmation saw it.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// From the start of the first failure to the end of the last.
    pub span: Duration,
}

impl Shots {
    /// A probe is launched. `offset` is what the wall clock was set by so far,
    /// in milliseconds.
    pub fn launch(&mut self, at: Duration, offset: i64, interval: Duration) {
        let stalled = self
            .shots
            .last()
            .is_some_and(|last| at - last.started > 3 * interval);
        let set = (offset - self.offset).abs() > 2_000;
        if !self.shots.is_empty() && (stalled || set) {
            self.gaps.push(at);
            self.successes = 0;
            self.failures = 0;
        }
        self.offset = offset;
        self.shots.push(Shot {
            started: at,
            landed: None,
        });
    }

    pub fn start_with(&mut self, offset: i64) {
        self.offset = offset;
    }

    /// A probe has its result; says whether anything was taken.
    pub fn land(&mut self, nth: usize, at: Duration, verdict: Verdict, limits: Limits) {
        self.shots[nth].landed = Some((at, verdict));
        while let Some(Shot {
            landed: Some((_, verdict)),
            ..
        }) = self.shots.get(self.taken)
        {
            let verdict = *verdict;
            self.taken += 1;
            self.take(verdict, at, limits);
        }
    }

    fn take(&mut self, verdict: Verdict, at: Duration, limits: Limits) {
        match verdict {
            Verdict::Up => {
                self.successes += 1;
                if self.successes >= limits.rise {
                    self.failures = 0;
                    self.believed = Believed::Up;
                    self.ever_up = true;
                    self.last_up = at;
                }
            }
            Verdict::Down => {
                self.successes = 0;
                self.failures += 1;
                if self.failures >= limits.fall {
                    self.believed = Believed::Down;
                }
            }
            Verdict::Unknown => {}
        }
        if self.believed == Believed::Down {
            self.last_down = Some(at);
            self.down_since.get_or_insert(at);
        } else {
            self.down_since = None;
        }
    }

    /// When results came in, between two times.
    pub fn landings(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let ends = self.shots.iter().filter_map(|shot| Some(shot.landed?.0));
        ends.filter(|end| (from..=to).contains(end)).collect()
    }

    /// The last gap before `at`.
    pub fn last_gap(&self, at: Duration) -> Option<Duration> {
        self.gaps.iter().copied().rfind(|&gap| gap < at)
    }

    /// When the probes that were close to each other at `at` began: those of a
    /// confirmation are at most `apart` from each other, but for time that was
    /// `lost` because nothing ran.
    pub fn close_since(
        &self,
        at: Duration,
        apart: Duration,
        lost: impl Fn(Duration, Duration) -> Duration,
    ) -> Option<Duration> {
        let launched = self.shots.partition_point(|shot| shot.started <= at);
        let mut since = self.shots[..launched].last()?.started;
        for shot in self.shots[..launched].iter().rev() {
            if since - shot.started > apart + lost(shot.started, since) {
                break;
            }
            since = shot.started;
        }
        Some(since)
    }

    /// The results that had been taken at `at`, one list for each way to see
    /// it: of those that came in that very moment, some may have been.
    fn readings(&self, at: Duration) -> impl Iterator<Item = &[Shot]> {
        let landed = |before: &dyn Fn(Duration) -> bool| {
            let shots = self.shots.iter();
            let taken = shots.take_while(|shot| shot.landed.is_some_and(|(end, _)| before(end)));
            taken.count()
        };
        let (least, most) = (landed(&|end| end < at), landed(&|end| end <= at));
        (least..=most).map(|taken| &self.shots[..taken])
    }

    /// Whether at `at` it had been seen up: `rise` times running, by probes
    /// that started at `since` or later, the newest result among them.
    pub fn up(&self, at: Duration, since: Duration, limits: Limits) -> bool {
        self.readings(at).any(|shots| {
            let fresh = shots.iter().filter(|shot| shot.started >= since);
            let told: Vec<Verdict> = fresh.filter_map(|shot| Some(shot.landed?.1)).collect();
            let run = told.iter().rev().filter(|&&v| v != Verdict::Unknown);
            let run = run.take_while(|&&verdict| verdict == Verdict::Up).count();
            told.last() == Some(&Verdict::Up) && run >= limits.rise as usize
        })
    }

    /// The outage it had been seen in at `at`, by probes that started at
    /// `since` or later: `fall` failures that no `rise` successes in a row
    /// came between. The longest, where there are several ways to see it.
    pub fn down(&self, at: Duration, since: Duration, limits: Limits) -> Option<Outage> {
        let outages = self
            .readings(at)
            .filter_map(|shots| outage(shots, since, limits));
        outages.max_by_key(|outage| outage.span)
    }
}

fn outage(shots: &[Shot], since: Duration, limits: Limits) -> Option<Outage> {
    let (mut run, mut failures) = (0, Vec::new());
    for shot in shots.iter().filter(|shot| shot.started >= since) {
        match shot.landed? {
            (_, Verdict::Up) => {
                run += 1;
                if run >= limits.rise {
                    failures.clear();
                }
            }
            (end, Verdict::Down) => {
                run = 0;
                failures.push((shot.started, end));
            }
            (_, Verdict::Unknown) => {}
        }
    }
    if failures.len() < limits.fall as usize {
        return None;
    }
    let last = failures.iter().map(|failure| failure.1).next_back()?;
    Some(Outage {
        span: last.saturating_sub(failures.first()?.0),
    })
}
