//! Between a site and one of its probers.

use super::{Pace, Report};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Between a site and one of its probers: the pace that the one sets, and the
/// report that the other gives.
pub struct Line {
    /// It began with a confirmation: the first probe comes at once, also if
    /// that is over by then. Whether an origin can be probed is not put off.
    pub(super) at_once: bool,
    state: Mutex<Told>,
    /// The site has said something.
    pub(super) told: Notify,
    /// A probe waits for a place.
    pub(super) waiting: AtomicBool,
    /// Who hears that there is a new report, beside the site.
    news: Option<watch::Sender<u64>>,
}

#[derive(Default)]
struct Told {
    pace: Pace,
    report: Report,
    ended: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pace as it is now; `None` once nobody listens any more.
    pub(super) fn pace(&self) -> Option<Pace> {
        let told = self.lock();
        (!told.ended).then_some(told.pace)
    }

    pub(super) fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock().report);
        if let Some(news) = &self.news {
            news.send_modify(|number| *number += 1);
        }
    }
}

/// The site's end of a line; the prober ends when it is dropped.
pub struct Reins(Arc<Line>);

impl Reins {
    /// A line that begins with this pace.
    #[must_use]
    pub fn new(pace: Pace) -> Reins {
        Reins::of(pace, None)
    }

    /// The same, and a number that changes with each report.
    #[must_use]
    pub fn with_news(pace: Pace) -> (Reins, watch::Receiver<u64>) {
        let (news, heard) = watch::channel(0);
        (Reins::of(pace, Some(news)), heard)
    }

    fn of(pace: Pace, news: Option<watch::Sender<u64>>) -> Reins {
        let told = Told {
            pace,
            ..Told::default()
        };
        Reins(Arc::new(Line {
            at_once: pace.confirming.is_some(),
            state: Mutex::new(told),
            told: Notify::new(),
            waiting: AtomicBool::new(false),
            news,
        }))
    }

    /// The prober's end.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        self.0.clone()
    }

    /// Sets the pace.
    pub fn set_pace(&self, pace: Pace) {
        self.0.lock().pace = pace;
        self.0.told.notify_one();
    }

    /// The report as it is; not to be kept.
    pub fn report(&self) -> impl Deref<Target = Report> {
        struct Shown<'a>(MutexGuard<'a, Told>);
        impl Deref for Shown<'_> {
            type Target = Report;
            fn deref(&self) -> &Report {
                &self.0.report
            }
        }
        Shown(self.0.lock())
    }

    /// Whether a probe waits for a place: what it would find is yet to be seen.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.told.notify_one();
    }
}
