//! A future that ends wherever it is: a crash at any point where it waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// Never, as far as a test goes.
const NEVER: u64 = u64::MAX;

/// Burns down with each poll of the future it is fastened to. Clones share it.
#[derive(Debug, Clone)]
pub struct Fuse(Arc<AtomicU64>);

impl Fuse {
    /// One that does not burn.
    pub fn unlit() -> Fuse {
        Fuse(Arc::new(AtomicU64::new(NEVER)))
    }

    /// From now on it burns, and is down at the end of the n-th poll; the one
    /// under way is the first. One that burns already burns on.
    pub fn light(&self, polls: u64) {
        if self.0.load(Ordering::Relaxed) == NEVER {
            self.0.store(polls.max(1), Ordering::Relaxed);
        }
    }

    /// It burns no more.
    pub fn quench(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    /// One poll more; true when it is down.
    fn burn(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != NEVER {
            self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        left <= 1
    }
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future with a fuse: it is dropped when that is down.
pub struct Fused {
    inner: Option<Boxed>,
    fuse: Fuse,
    blown: Option<Box<dyn FnOnce() + Send>>,
}

impl Fused {
    /// `blown` is called once it is dropped by its fuse.
    pub fn new(
        inner: impl Future<Output = ()> + Send + 'static,
        fuse: Fuse,
        blown: impl FnOnce() + Send + 'static,
    ) -> Fused {
        Fused {
            inner: Some(Box::pin(inner)),
            fuse,
            blown: Some(Box::new(blown)),
        }
    }
}

impl Future for Fused {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(());
        };
        if inner.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !self.fuse.burn() {
            return Poll::Pending;
        }
        self.inner = None;
        if let Some(blown) = self.blown.take() {
            blown();
        }
        Poll::Ready(())
    }
}
