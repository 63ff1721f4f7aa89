//! What the loop that runs was told of alerts, in the judge's own reading: a
//! newer start wins; for the same start, resolved beats firing; what has no
//! start is the newest word.

use originswitch::rule::alerts::AlertStatus;
use std::collections::BTreeMap;
use std::time::Duration;

/// One word of an alert.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    pub status: AlertStatus,
    pub starts: Option<Duration>,
    pub received: Duration,
}

/// The alerts of a site, and what each was taken to say since when.
///
/// An alert that has not been heard of for long is forgotten, at some time or
/// other; then an old word of it is news. So there are two readings: in one it
/// is, in the other it is not.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    forgetful: BTreeMap<u64, Vec<Post>>,
    mindful: BTreeMap<u64, Vec<Post>>,
}

impl Alarms {
    pub fn take(&mut self, identity: u64, post: Post, ttl: Duration) {
        let known = self.forgetful.entry(identity).or_default();
        let old = known
            .last()
            .is_some_and(|last| post.received - last.received >= ttl);
        merge(known, post, old);
        merge(self.mindful.entry(identity).or_default(), post, false);
    }

    /// Whether one may count as firing at `at`; `lasts` says how long a word
    /// may be believed that was received at some time.
    pub fn may_fire(&self, at: Duration, lasts: impl Fn(Duration) -> Duration) -> bool {
        let believed = |post: &Post| {
            let firing = post.status == AlertStatus::Firing;
            firing && at - post.received < lasts(post.received)
        };
        let books = self.forgetful.values().chain(self.mindful.values());
        let mut possible = books.flat_map(|posts| possible(posts, at));
        possible.any(believed)
    }

    /// One that fires at `at` in any reading.
    pub fn must_fire(&self, at: Duration, ttl: Duration) -> Option<Post> {
        let fires = |posts: &Vec<Post>| {
            let fires =
                |post: &Post| post.status == AlertStatus::Firing && at - post.received < ttl;
            let mut possible = possible(posts, at).peekable();
            let last = possible.peek().copied().copied()?;
            possible.all(fires).then_some(last)
        };
        let mindful = self.mindful.iter();
        let mut firing = mindful.filter_map(|(identity, posts)| Some((identity, fires(posts)?)));
        firing.find_map(|(identity, post)| {
            let forgetful = self.forgetful.get(identity)?;
            fires(forgetful).map(|_| post)
        })
    }
}

/// What an alert may be taken to say at `at`: of words that came in that very
/// moment some may not have been heard.
fn possible(posts: &[Post], at: Duration) -> impl Iterator<Item = &Post> {
    let before = posts.iter().rfind(|post| post.received < at);
    before
        .into_iter()
        .chain(posts.iter().filter(move |post| post.received == at))
}

fn merge(known: &mut Vec<Post>, post: Post, old: bool) {
    let Some(last) = known.last().copied().filter(|_| !old) else {
        known.push(post);
        return;
    };
    let newer = match (last.starts, post.starts) {
        (Some(first), Some(given)) if given < first => {
            if post.status == last.status {
                // It is still spoken of.
                let received = post.received;
                known.push(Post { received, ..last });
            }
            return;
        }
        (Some(first), Some(given)) => given > first,
        _ => true,
    };
    if newer || last.status == AlertStatus::Firing {
        let starts = post.starts.or(last.starts);
        known.push(Post { starts, ..post });
    }
}
