//! What people order of a site, and of all.

use super::Rig;
use jiff::{SignedDuration, Timestamp};
use originswitch::failover::{Guard, Request, StandingOrder};
use originswitch::rule::decision::{Decision, Order};
use originswitch::rule::standing::Freeze;
use std::sync::Arc;
use std::time::Duration;

impl Rig {
    /// What holds over all sites.
    pub fn shared(&self) -> &Arc<Guard> {
        &self.running.as_ref().unwrap().guard
    }

    /// When something ordered now for so long ends.
    pub fn until_in(&self, time: Duration) -> Timestamp {
        let time = SignedDuration::try_from(time).unwrap();
        self.clock.now().checked_add(time).unwrap()
    }

    /// The request for a pin.
    pub fn pin_request(&self, to: usize, force: bool, time: Option<Duration>) -> Request {
        Request::Pin {
            order: Order { to, force },
            until: time.map(|time| self.until_in(time)),
            reason: "kernel update".into(),
        }
    }

    /// Pins the site; answers with the decision.
    pub async fn pin(&self, to: usize, time: Option<Duration>) -> Arc<Decision> {
        self.ask(self.pin_request(to, false, time)).await
    }

    /// The same, by force.
    pub async fn force(&self, to: usize, time: Option<Duration>) -> Arc<Decision> {
        self.ask(self.pin_request(to, true, time)).await
    }

    /// Asks for a pin that cannot be had; answers with the sentence that says why.
    pub async fn pin_refused(&self, to: usize) -> String {
        self.refused(self.pin_request(to, false, None)).await
    }

    /// Gives an order, and waits until it stands and is stored.
    pub async fn order(&self, order: StandingOrder) {
        self.handle().order(order).await.unwrap().unwrap();
    }

    pub async fn unpin(&self) {
        self.order(StandingOrder::Unpin).await;
    }

    pub async fn freeze(&self, time: Option<Duration>) {
        self.order(StandingOrder::Freeze(self.terms(time))).await;
    }

    pub async fn unfreeze(&self) {
        self.order(StandingOrder::Unfreeze).await;
    }

    /// Freezes all sites; done when this one has taken it in.
    pub async fn freeze_all(&self, time: Option<Duration>) {
        let freeze = Some(self.terms(time));
        self.shared().set_freeze(freeze).await.unwrap();
        self.order(StandingOrder::Heed).await;
    }

    /// Ends the freeze of all sites.
    pub async fn unfreeze_all(&self) {
        self.shared().set_freeze(None).await.unwrap();
        self.order(StandingOrder::Heed).await;
    }

    /// The terms of a freeze.
    pub fn terms(&self, time: Option<Duration>) -> Freeze {
        Freeze {
            until: time.map(|time| self.until_in(time)),
            reason: "database move".into(),
        }
    }

    /// The pin that is shown: the part of its origin.
    pub fn pinned(&self) -> Option<String> {
        let status = self.status();
        status.pin.as_deref().map(|(role, _)| role.to_string())
    }

    /// What the freeze that is shown is of.
    pub fn frozen(&self) -> Option<&'static str> {
        let status = self.status();
        status.frozen.as_ref().map(|frozen| frozen.scope.as_str())
    }
}
