//! Tells Alertmanagers of switches, lasting holds and switches that went wrong,
//! so that people hear of them also when Prometheus is what died.
//!
//! Nothing waits for it. It looks at what sites last said of themselves, once a
//! second, and posts what is so, again and again: Alertmanager forgets what is
//! not repeated. What is so comes from the site's record and history, so a
//! restart forgets nothing; there is no queue, and memory is bounded by the
//! number of sites.
//!
//! | file | holds |
//! | --- | --- |
//! | `board` | what there is to tell |
//! | `sender` | telling it to one Alertmanager, for as long as it takes |
//! | `post` | the request |

mod board;
mod post;
mod sender;

use crate::clock::Clock;
use crate::config::Notify;
use crate::failover::SiteHandle;
use crate::metrics::Metrics;
pub use board::Alert;
use board::{Board, Seen};
use futures_util::future::BoxFuture;
use post::Http;
use sender::Sender;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Between looks at the sites.
const LOOK: Duration = Duration::from_secs(1);

/// What is so is repeated this often: as often as Prometheus does.
const REPEAT: Duration = Duration::from_secs(60);

/// Where alerts are posted.
pub trait Post: Send + Sync + 'static {
    /// Posts the body of one request; why it did not arrive, in one sentence.
    fn post(&self, body: String) -> BoxFuture<'_, Result<(), String>>;
}

/// Makes what posts to the Alertmanager with a base URL.
pub type MakePost = Arc<dyn Fn(&str, &Notify) -> Result<Arc<dyn Post>, String> + Send + Sync>;

/// Real requests.
#[must_use]
pub fn over_http() -> MakePost {
    Arc::new(|url, settings| Ok(Arc::new(Http::new(url, settings.token.clone())?)))
}

/// Tells whoever `[notify]` names.
pub struct Notifier {
    settings: watch::Sender<Notify>,
    sites: watch::Sender<Vec<Arc<SiteHandle>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    make: MakePost,
}

impl Notifier {
    /// One that knows no site yet.
    #[must_use]
    pub fn new(
        settings: &Notify,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        make: MakePost,
    ) -> Arc<Notifier> {
        Arc::new(Notifier {
            settings: watch::Sender::new(settings.clone()),
            sites: watch::Sender::new(Vec::new()),
            clock: clock.clone(),
            metrics: metrics.clone(),
            make,
        })
    }

    /// Takes over changed settings.
    pub fn configure(&self, settings: &Notify) {
        let differs = |before: &mut Notify| {
            let differs = before != settings;
            before.clone_from(settings);
            differs
        };
        self.settings.send_if_modified(differs);
    }

    /// Looks at these sites from now on, and at no others.
    pub fn watch(&self, sites: Vec<Arc<SiteHandle>>) {
        self.sites.send_replace(sites);
    }

    /// Tells, until told to stop. What is so then ends at the Alertmanagers
    /// after a while, if no other process goes on telling it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut settings = self.settings.subscribe();
        let mut board = Board::default();
        let told = watch::Sender::new(Arc::default());
        let mut now = settings.borrow_and_update().clone();
        let mut senders = self.senders(&now, &told);
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = settings.changed() => {
                    now = settings.borrow_and_update().clone();
                    senders.shutdown().await;
                    senders = self.senders(&now, &told);
                }
                _ = ticks.tick(), if !now.alertmanager_urls.is_empty() => {
                    self.look(&mut board, now.hold_for, &told);
                }
            }
        }
    }

    /// Starts to tell each Alertmanager; they end when the set is dropped.
    fn senders(&self, settings: &Notify, told: &watch::Sender<Arc<Vec<Alert>>>) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for url in &settings.alertmanager_urls {
            match (self.make)(url, settings) {
                Ok(post) => {
                    let sender = Sender {
                        url: url.clone(),
                        post,
                        board: told.subscribe(),
                        clock: self.clock.clone(),
                        metrics: self.metrics.clone(),
                    };
                    senders.spawn(sender.run());
                }
                Err(why) => error!("Alertmanager at {url} will not be told: {why}"),
            }
        }
        senders
    }

    fn look(&self, board: &mut Board, hold_for: Duration, told: &watch::Sender<Arc<Vec<Alert>>>) {
        let sites = self.sites.borrow().clone();
        let seen: Vec<Seen<'_>> = sites
            .iter()
            .map(|handle| Seen {
                name: &handle.site.name,
                status: handle.status(),
            })
            .collect();
        let news = board.look(&seen, hold_for, &self.clock);
        told.send_if_modified(|shown| {
            *shown = Arc::new(board.alerts());
            news
        });
    }
}
