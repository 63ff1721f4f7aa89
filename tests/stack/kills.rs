//! Whoever dies in the middle of an incident, the record is right at the end,
//! and was written twice: there and back.

use crate::Tools;
use crate::stack::{Setup, Stack};

/// MAIN is dead, the record holds BACKUP, and the alert fires.
async fn in_the_middle(tools: &Tools) -> Stack {
    let stack = Stack::start(tools).await;
    stack.fail_over().await;
    stack.until_alert("firing").await;
    stack
}

/// Waits for the false end of the alert, and for the decision to stay.
async fn until_falsely_resolved(stack: &Stack) {
    stack.until_alert("resolved").await;
    stack
        .until("the false end is decided", async || {
            let site = stack.server.site("www").await;
            let decision = &site["last_decision"];
            decision["trigger"] == "alert" && decision["reason"] == "main_down"
        })
        .await;
    stack.assert_written(&[stack.world.backup_ip()]);
}

async fn main_returns(stack: &Stack) {
    stack.world.revive_main().await;
    stack.until_returned().await;
    stack.assert_there_and_back().await;
}

/// Alertmanager believes that an alert is over when nobody repeats it.
pub async fn prometheus_dies(tools: &Tools) {
    let mut stack = in_the_middle(tools).await;
    stack.prometheus.kill().await;
    until_falsely_resolved(&stack).await;
    stack.until_alert_path_is(0.0).await;

    stack.prometheus.again();
    stack.until_alert_path_is(1.0).await;
    stack.until_alert("firing").await;
    main_returns(&stack).await;
}

/// An alert on a series ends when the series does, here after the shortened
/// `keep_firing_for`.
pub async fn blackbox_exporter_dies(tools: &Tools) {
    let mut stack = in_the_middle(tools).await;
    stack.blackbox.kill().await;
    let missing = "count(ALERTS{alertname=\"OriginProbeMissing\"})";
    stack.until_query(missing, 2.0).await;
    until_falsely_resolved(&stack).await;

    stack.blackbox.again();
    stack.until_alert("firing").await;
    main_returns(&stack).await;
}

/// Killed, it forgets what it has delivered and delivers it again; ended, it
/// remembers.
pub async fn alertmanager_restarts(tools: &Tools) {
    let mut stack = in_the_middle(tools).await;
    let before = stack.firing().await;
    stack.alertmanager.kill().await;
    stack.alertmanager.again();
    stack
        .until("the alert and the Watchdog come again", async || {
            stack.firing().await >= before + 2.0
        })
        .await;
    stack.assert_written(&[stack.world.backup_ip()]);

    stack.alertmanager.end().await;
    stack.alertmanager.again();
    stack
        .until("Alertmanager was told again", async || {
            let alerts = stack.ask_alertmanager("alerts?filter=alertname=OriginDown");
            alerts.await.is_some_and(|alerts| !alerts[0].is_null())
        })
        .await;
    main_returns(&stack).await;
}

/// Once while it confirms that MAIN is dead, and once while MAIN comes back.
pub async fn originswitch_restarts(tools: &Tools, signal: &str) {
    let slow = Setup {
        // Leaves time to die in.
        rule: "failback_after = \"0s\"\nconfirm_interval = \"2s\"\nconfirm_for = \"1s\"",
        ..Setup::DEFAULT
    };
    let mut stack = Stack::start_as(tools, slow).await;
    stack.world.kill_main().await;
    stack.until_alert("firing").await;
    stack.server.signal(signal);
    stack.server.ended().await;
    stack.serve_again().await;
    stack.until_on_backup().await;
    stack.until_record_origin("backup").await;

    stack.server.signal(signal);
    stack.server.ended().await;
    stack.world.revive_main().await;
    stack.serve_again().await;
    stack.until_returned().await;
    stack.assert_there_and_back().await;
}
