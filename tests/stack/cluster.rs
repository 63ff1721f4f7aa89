//! Two Alertmanagers that tell each other what they have delivered, and what
//! becomes of an incident when they cannot.

use std::net::SocketAddr;

use serde_json::Value;

use crate::Tools;
use crate::line::Line;
use crate::monitoring::free;
use crate::stack::{Setup, Stack};
use crate::support::server::{Metrics, World};

/// The lines between two Alertmanagers: each speaks to the other through one.
pub struct Cluster {
    /// Where each listens for the other.
    own: [SocketAddr; 2],
    lines: [Line; 2],
}

impl Cluster {
    pub async fn new(world: &World) -> Self {
        let own = [world.address(40), world.address(41)].map(free);
        let [first, second] = [world.address(42), world.address(43)].map(free);
        let lines = [
            Line::new(first, own[0]).await,
            Line::new(second, own[1]).await,
        ];
        Self { own, lines }
    }

    /// How a member is started: it listens in one place, and says that it is to
    /// be found at the line's end.
    pub fn arguments(&self, member: usize) -> Vec<String> {
        let (own, line) = (self.own[member], &self.lines[member]);
        vec![
            format!("--cluster.listen-address={own}"),
            format!("--cluster.advertise-address={}", line.at()),
            format!("--cluster.peer={}", self.lines[1 - member].at()),
            // How long the second waits for the first to deliver.
            "--cluster.peer-timeout=1s".into(),
            // Quick to find each other, and to find the other gone.
            "--cluster.gossip-interval=100ms".into(),
            "--cluster.probe-interval=500ms".into(),
            "--cluster.probe-timeout=250ms".into(),
        ]
    }

    /// Neither hears the other any more.
    fn cut(&mut self) {
        self.lines.iter_mut().for_each(Line::cut);
    }
}

/// Waits until each of the two knows of so many members, itself included.
async fn until_members(stack: &Stack, members: usize) {
    for at in [stack.at.alertmanager, stack.at.second_alertmanager] {
        stack
            .until(&format!("{at} knows of {members}"), async || {
                let url = format!("http://{at}/api/v2/status");
                let answer = stack.client.get(url).send().await.unwrap();
                let status: Value = answer.json().await.unwrap();
                status["cluster"]["peers"].as_array().map(Vec::len) == Some(members)
            })
            .await;
    }
}

/// How much each of the two has delivered.
async fn delivered(stack: &Stack) -> [f64; 2] {
    let delivered = async |at| {
        let url = format!("http://{at}/metrics");
        let answer = stack.client.get(url).send().await.unwrap();
        let metrics = Metrics::parse(&answer.text().await.unwrap()).0;
        let webhook = "alertmanager_notifications_total{integration=\"webhook\"";
        let counts = metrics.iter().filter(|(key, _)| key.starts_with(webhook));
        counts.map(|(_, count)| count).sum::<f64>()
    };
    [
        delivered(stack.at.alertmanager).await,
        delivered(stack.at.second_alertmanager).await,
    ]
}

const CLUSTERED: Setup = Setup {
    clustered: true,
    ..Setup::DEFAULT
};

/// The second hears that the first has delivered, and keeps quiet.
pub async fn both_see_each_other(tools: &Tools) {
    let stack = Stack::start_as(tools, CLUSTERED).await;
    until_members(&stack, 2).await;
    stack.fail_over().await;
    stack.until_alert("firing").await;
    stack.world.revive_main().await;
    stack.until_returned().await;
    stack.assert_there_and_back().await;
}

/// The line breaks in the middle of the incident: each delivers the end.
pub async fn neither_sees_the_other(tools: &Tools) {
    let mut stack = Stack::start_as(tools, CLUSTERED).await;
    until_members(&stack, 2).await;
    stack.fail_over().await;
    stack.cluster.as_mut().expect("it is clustered").cut();
    until_members(&stack, 1).await;
    let before = delivered(&stack).await;
    stack.world.revive_main().await;
    stack.until_returned().await;
    stack
        .until("each has delivered the end", async || {
            let now = delivered(&stack).await;
            now[0] > before[0] && now[1] > before[1]
        })
        .await;
    stack.assert_there_and_back().await;
}
