//! Whether the token is good: asked of Cloudflare at start, every hour and
//! after an authentication error. Its right to read each zone is proven by the
//! reads that the sites make anyway, so that it costs no call and no write.

use super::board::{Board, Shown, State};
use super::tidings::{News, Tidings};
use super::verdict::{Known, Verdict, Verified};
use crate::clock::Clock;
use crate::metrics::Metrics;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

/// Between verifications.
const INTERVAL: Duration = Duration::from_secs(3600);

/// After one that could not be made.
const AGAIN: Duration = Duration::from_secs(60);

/// Events that ask for one are answered together when they come this close.
const SPACING: Duration = Duration::from_secs(2);

/// How often to see whether the token's file is due to be read again.
const TICK: Duration = Duration::from_secs(5);

/// A new token is given so long to read every zone once before it is called
/// good without that.
const SETTLING: Duration = Duration::from_secs(30);

/// A token that ends within this time is warned of, once a day.
const EXPIRY: SignedDuration = SignedDuration::from_hours(14 * 24);
const DAY: Duration = Duration::from_secs(86_400);

/// Who is asked about the token: Cloudflare.
pub(super) trait Asked: Send + Sync + 'static {
    /// Asks about the token itself; an error is a sentence, and no knowledge.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, String>>;

    /// Reads the token's file again, if it is time.
    fn renew(&self);

    /// What calls have told meanwhile.
    fn tidings(&self) -> &Tidings;

    /// The key of the configuration that holds the token.
    fn place(&self) -> String;
}

/// Called when another token has come into use.
pub type OnNewToken = Arc<dyn Fn() + Send + Sync>;

/// Tokens being watched, a task for each; ends with this value.
pub struct TokenWatch(Vec<JoinHandle<()>>);

impl TokenWatch {
    pub(super) fn start(
        asked: Vec<Arc<dyn Asked>>,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        on_new: OnNewToken,
    ) -> TokenWatch {
        let board = Board::new(asked.len(), metrics.clone());
        let watch = |(place, asked)| {
            let on_new = on_new.clone();
            let shown = board.place(place);
            tokio::spawn(Watch::new(asked, clock.clone(), shown, on_new).run())
        };
        TokenWatch(asked.into_iter().enumerate().map(watch).collect())
    }

    /// Ends it, and waits until it has ended.
    pub async fn end(mut self) {
        for task in &mut self.0 {
            task.abort();
            // It was told to end: how it did says nothing.
            let _ = task.await;
        }
    }
}

impl Drop for TokenWatch {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// The loop that watches a token.
struct Watch {
    asked: Arc<dyn Asked>,
    clock: Clock,
    shown: Shown,
    on_new: OnNewToken,
    known: Known,
    /// What was last taken in.
    news: News,
    /// When the token came into use.
    since: Instant,
    last_asked: Option<Instant>,
    ask_at: Instant,
    /// The last verification could not be made, and that was said.
    in_vain: bool,
    /// The verdict that was last said.
    said: Verdict,
    /// When it was last warned that the token ends soon.
    warned: Option<Instant>,
}

impl Watch {
    fn new(asked: Arc<dyn Asked>, clock: Clock, shown: Shown, on_new: OnNewToken) -> Watch {
        let now = Instant::now();
        Watch {
            news: asked.tidings().news(),
            asked,
            clock,
            shown,
            on_new,
            known: Known::nothing(),
            since: now,
            last_asked: None,
            ask_at: now,
            in_vain: false,
            said: Verdict::Unknown,
            warned: None,
        }
    }

    async fn run(mut self) {
        loop {
            self.asked.renew();
            self.take_in();
            if self.ask_at <= Instant::now() {
                self.verify().await;
                self.take_in();
            }
            self.tell();
            let next = self.ask_at.min(Instant::now() + TICK);
            let asked = self.asked.clone();
            tokio::select! {
                () = asked.tidings().woken() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Takes in what calls have told, and whether that asks for a verification.
    fn take_in(&mut self) {
        let news = self.asked.tidings().news();
        let now = Instant::now();
        if news.tokens != self.news.tokens {
            self.known = Known::nothing();
            self.shown.set(|state| *state = State::default());
            (self.since, self.ask_at) = (now, now);
            (self.said, self.warned) = (Verdict::Unknown, None);
            (self.on_new)();
        }
        // Zones that are read contradict a verification that went badly.
        let doubted = news.readable != self.news.readable && !self.known.is_active();
        if news.refusals != self.news.refusals || doubted {
            let soonest = self.last_asked.map_or(now, |last| now.max(last + SPACING));
            self.ask_at = self.ask_at.min(soonest);
        }
        self.known.rights.clone_from(&news.rights);
        self.news = news;
    }

    async fn verify(&mut self) {
        self.last_asked = Some(Instant::now());
        let tokens = self.news.tokens;
        let answer = self.asked.verify().await;
        let now = Instant::now();
        self.ask_at = now + if answer.is_ok() { INTERVAL } else { AGAIN };
        match answer {
            // It may speak of the token before; the new one is asked about next.
            _ if self.asked.tidings().tokens() != tokens => {}
            Ok(verified) => {
                self.known.take(verified, now);
                self.in_vain = false;
            }
            Err(text) => {
                if !std::mem::replace(&mut self.in_vain, true) {
                    warn!("the Cloudflare token could not be verified: {text}");
                }
            }
        }
    }

    /// Puts what is known into metrics, and says what has changed.
    fn tell(&mut self) {
        let now = self.clock.now();
        let expires = self.known.expires();
        let settled = self.since.elapsed() >= SETTLING;
        let verdict = self.known.verdict(now, settled, &self.asked.place());
        self.shown.set(|state| {
            state.expires = expires;
            match &verdict {
                Verdict::Unknown => {}
                Verdict::Valid => state.valid = Some(true),
                Verdict::Invalid(_) => state.valid = Some(false),
            }
        });
        if verdict == Verdict::Unknown {
            return;
        }
        if verdict != self.said {
            match &verdict {
                Verdict::Invalid(sentence) => warn!("{sentence}"),
                _ => info!(place = self.asked.place(), "the Cloudflare token is good"),
            }
            self.said = verdict;
        }
        self.warn_of_expiry(now);
    }

    fn warn_of_expiry(&mut self, now: Timestamp) {
        let soon = |expires: &Timestamp| {
            let left = expires.duration_since(now);
            left.is_positive() && left <= EXPIRY
        };
        let Some(expires) = self.known.expires().filter(soon) else {
            return;
        };
        let lately = self.warned.is_some_and(|at| at.elapsed() < DAY);
        if lately || !self.known.is_active() {
            return;
        }
        self.warned = Some(Instant::now());
        warn!(
            "the Cloudflare token expires on {expires}, in {}: make another one and put it into {}",
            in_words(expires.duration_since(now)),
            self.asked.place()
        );
    }
}

/// A time in whole days, or hours where it is less than two days.
fn in_words(time: SignedDuration) -> String {
    match time.as_hours() {
        0 => "less than an hour".into(),
        1 => "an hour".into(),
        hours @ ..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Status, Told};
    use super::*;
    use crate::config::Zone;
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A Cloudflare that answers as it is told to.
    struct Fake {
        tidings: Tidings,
        answer: Mutex<Result<Verified, String>>,
        asked: AtomicU64,
    }

    impl Asked for Fake {
        fn verify(&self) -> BoxFuture<'_, Result<Verified, String>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { self.answer.lock().unwrap().clone() })
        }

        fn renew(&self) {}

        fn tidings(&self) -> &Tidings {
            &self.tidings
        }

        fn place(&self) -> String {
            "cloudflare.api_token_file".into()
        }
    }

    fn told(status: Status, expires: Option<Timestamp>) -> Result<Verified, String> {
        Ok(Verified::Told(Told {
            status,
            expires,
            not_before: None,
        }))
    }

    fn active() -> Result<Verified, String> {
        told(Status::Active, None)
    }

    fn zone() -> Zone {
        Zone::Name("example.com".into())
    }

    /// A loop that watches the token of a fake, with one zone.
    struct Rig {
        fake: Arc<Fake>,
        metrics: Arc<Metrics>,
        clock: Clock,
        woken: Arc<AtomicU64>,
        _watch: TokenWatch,
    }

    impl Rig {
        fn new(answer: Result<Verified, String>) -> Rig {
            let fake = Arc::new(Fake {
                tidings: Tidings::default(),
                answer: Mutex::new(answer),
                asked: AtomicU64::new(0),
            });
            fake.tidings.set_zones([zone()].into());
            let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
            let (metrics, woken) = (Metrics::new(), Arc::new(AtomicU64::new(0)));
            let wake = woken.clone();
            let on_new = Arc::new(move || {
                wake.fetch_add(1, Ordering::Relaxed);
            });
            let _watch = TokenWatch::start(vec![fake.clone()], &clock, &metrics, on_new);
            Rig {
                fake,
                metrics,
                clock,
                woken,
                _watch,
            }
        }

        /// One whose zone is read from the start.
        async fn reading(answer: Result<Verified, String>) -> Rig {
            let rig = Rig::new(answer);
            rig.fake.tidings.note(&zone(), None);
            rig.run(Duration::from_secs(1)).await;
            rig
        }

        async fn run(&self, time: Duration) {
            tokio::time::sleep(time).await;
        }

        fn answers(&self, answer: Result<Verified, String>) {
            *self.fake.answer.lock().unwrap() = answer;
        }

        fn asked(&self) -> u64 {
            self.fake.asked.load(Ordering::Relaxed)
        }

        fn gauge(&self, name: &str) -> Option<f64> {
            let text = String::from_utf8(self.metrics.text()).unwrap();
            let name = format!("originswitch_cloudflare_token_{name} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&name));
            value.map(|value| value.parse().unwrap())
        }

        fn valid(&self) -> Option<f64> {
            self.gauge("valid")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_is_verified_at_start_and_every_hour() {
        let rig = Rig::reading(active()).await;
        assert_eq!((rig.asked(), rig.valid()), (1, Some(1.0)));
        assert_eq!(rig.gauge("expiry_timestamp_seconds"), None);
        rig.run(10 * HOUR).await;
        assert_eq!(rig.asked(), 11);
        // Switched off while nothing happens: found within the hour.
        rig.answers(told(Status::Disabled, None));
        rig.run(HOUR).await;
        assert_eq!((rig.asked(), rig.valid()), (12, Some(0.0)));
        rig.answers(active());
        rig.run(HOUR).await;
        assert_eq!((rig.asked(), rig.valid()), (13, Some(1.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn every_authentication_error_is_followed_by_a_verification() {
        let rig = Rig::reading(active()).await;
        rig.run(Duration::from_secs(60)).await;
        rig.answers(Ok(Verified::Refused("no such token".into())));
        rig.fake.tidings.refused();
        rig.fake.tidings.note(&zone(), Some(("a permission", "no")));
        rig.run(Duration::from_millis(10)).await;
        assert_eq!((rig.asked(), rig.valid()), (2, Some(0.0)));
        // A storm of them is one question every two seconds.
        for _ in 0..100 {
            rig.fake.tidings.refused();
            rig.run(Duration::from_millis(100)).await;
        }
        assert!((6..=8).contains(&rig.asked()), "{}", rig.asked());
        // A zone that is read again contradicts what is known.
        rig.run(Duration::from_secs(60)).await;
        let asked = rig.asked();
        rig.answers(active());
        rig.fake.tidings.note(&zone(), None);
        rig.run(Duration::from_millis(10)).await;
        assert_eq!((rig.asked(), rig.valid()), (asked + 1, Some(1.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_network_is_no_knowledge() {
        let unreachable = || Err("Cloudflare cannot be reached".to_owned());
        let rig = Rig::new(unreachable());
        rig.run(Duration::from_secs(150)).await;
        assert_eq!((rig.asked(), rig.valid()), (3, None));
        // What is known stays as it was.
        rig.answers(active());
        rig.run(Duration::from_secs(60)).await;
        assert_eq!(rig.valid(), Some(1.0));
        rig.answers(unreachable());
        rig.run(5 * HOUR).await;
        assert_eq!(rig.valid(), Some(1.0));
        rig.answers(told(Status::Expired, None));
        rig.run(Duration::from_secs(60)).await;
        assert_eq!(rig.valid(), Some(0.0));
        rig.answers(unreachable());
        rig.run(5 * HOUR).await;
        assert_eq!(rig.valid(), Some(0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_is_verified_at_once_and_everybody_hears_of_it() {
        let expires = "2027-11-23T00:00:00Z".parse().unwrap();
        let rig = Rig::reading(told(Status::Active, Some(expires))).await;
        let at = rig.gauge("expiry_timestamp_seconds");
        assert_eq!(at, Some(1_826_928_000.0));
        rig.answers(Err("Cloudflare cannot be reached".into()));
        rig.fake.tidings.replaced();
        rig.run(Duration::from_millis(10)).await;
        assert_eq!((rig.asked(), rig.valid()), (2, None));
        assert_eq!(rig.gauge("expiry_timestamp_seconds"), None);
        assert_eq!(rig.woken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_only_when_its_zones_were_read_or_time_enough_for_it_has_passed() {
        let rig = Rig::new(active());
        rig.run(SETTLING - Duration::from_secs(1)).await;
        assert_eq!((rig.asked(), rig.valid()), (1, None));
        rig.run(2 * TICK).await;
        assert_eq!(rig.valid(), Some(1.0));
        rig.fake.tidings.note(&zone(), Some(("a permission", "no")));
        rig.run(Duration::from_millis(10)).await;
        assert_eq!(rig.valid(), Some(0.0));
        // The zone is not configured any more.
        rig.fake.tidings.set_zones([].into());
        rig.run(Duration::from_millis(10)).await;
        assert_eq!(rig.valid(), Some(1.0));
    }

    /// What is logged, for assertions.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn begin() -> (Log, tracing::subscriber::DefaultGuard) {
            let log = Log::default();
            let writer = log.clone();
            let lines = tracing_subscriber::fmt().with_writer(move || writer.clone());
            let guard = tracing::subscriber::set_default(lines.with_ansi(false).finish());
            (log, guard)
        }

        fn count(&self, text: &str) -> usize {
            let log = self.0.lock().unwrap();
            String::from_utf8_lossy(&log).matches(text).count()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_soon_is_warned_of_once_a_day() {
        let (log, _guard) = Log::begin();
        let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let expires = start + SignedDuration::from_hours(15 * 24);
        let rig = Rig::reading(told(Status::Active, Some(expires))).await;
        rig.run(23 * HOUR).await;
        assert_eq!(log.count("expires on"), 0);
        rig.run(HOUR + TICK).await;
        assert_eq!(
            log.count("expires on 2026-12-08T00:00:00Z, in 14 days: "),
            1
        );
        rig.run(23 * HOUR).await;
        assert_eq!(log.count("expires on"), 1);
        rig.run(3 * 24 * HOUR).await;
        assert_eq!(log.count("expires on"), 4);
        assert_eq!(log.count("put it into cloudflare.api_token_file"), 4);
        // When it has expired there is nothing left to warn of.
        rig.answers(told(Status::Expired, Some(expires)));
        rig.run(HOUR).await;
        rig.clock.step(15 * 86_400_000);
        rig.run(48 * HOUR).await;
        assert_eq!(log.count("expires on"), 4);
        assert_eq!(log.count("the Cloudflare token expired on"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_is_said_when_it_changes_and_not_every_hour() {
        let (log, _guard) = Log::begin();
        let rig = Rig::reading(active()).await;
        rig.run(5 * HOUR).await;
        assert_eq!(log.count("the Cloudflare token is good"), 1);
        rig.answers(told(Status::Disabled, None));
        rig.run(5 * HOUR).await;
        assert_eq!(log.count("the Cloudflare token is disabled"), 1);
        rig.answers(Err("Cloudflare cannot be reached".into()));
        rig.run(5 * HOUR).await;
        assert_eq!(
            log.count("could not be verified: Cloudflare cannot be reached"),
            1
        );
        rig.answers(active());
        rig.run(5 * HOUR).await;
        assert_eq!(log.count("the Cloudflare token is good"), 2);
    }

    #[test]
    fn a_time_is_said_in_days_or_hours() {
        let said = |minutes| in_words(SignedDuration::from_mins(minutes));
        assert_eq!(said(59), "less than an hour");
        assert_eq!(said(119), "an hour");
        assert_eq!(said(47 * 60), "47 hours");
        assert_eq!(said(48 * 60), "2 days");
    }
}
