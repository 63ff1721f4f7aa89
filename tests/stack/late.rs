//! An alert that is late, and what moves the record then.

use crate::Tools;
use crate::stack::{Setup, Stack};

/// The alert path hangs. Our own routine probes find MAIN dead and move the
/// record, the decision says that it was them, and the alert that comes after
/// all finds nothing to do.
pub async fn our_own_probes_do_not_wait(tools: &Tools) {
    let watchful = Setup {
        probe: "interval = \"1s\"\ntimeout = \"10s\"",
        rule: "failback_after = \"0s\"\nconfirm_for = \"1s\"",
        ..Setup::DEFAULT
    };
    let stack = Stack::start_as(tools, watchful).await;
    stack.alertmanager.signal("STOP");
    let before = stack.firing().await;
    stack.fail_over().await;
    let switch = stack.last_switch().await;
    assert_eq!(switch["trigger"], "probe", "{switch:#}");
    assert_eq!(stack.firing().await, before, "an alert came through");

    let firing = "ALERTS{alertname=\"OriginDown\",alertstate=\"firing\"}";
    stack.until_query(firing, 1.0).await;
    stack.alertmanager.signal("CONT");
    stack
        .until("the alert comes after all", async || {
            stack.firing().await > before
        })
        .await;
    stack.until_alert("firing").await;
    stack.assert_written(&[stack.world.backup_ip()]);

    stack.world.revive_main().await;
    stack.until_returned().await;
    stack.assert_there_and_back().await;
}
