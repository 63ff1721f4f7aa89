//! The incident that all of it is for, from end to end.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::Tools;
use crate::stack::Stack;

#[tokio::test]
async fn an_alert_moves_the_record_and_its_end_lets_it_return() {
    let Some(tools) = Tools::find() else { return };
    let stack = Stack::start(&tools).await;

    stack.fail_over().await;
    stack.until_record_origin("backup").await;
    let switch = stack.last_switch().await;
    assert_eq!(switch["reason"], "failover", "{switch:#}");
    assert_eq!(switch["trigger"], "alert", "{switch:#}");
    // What originswitch says of itself is watched too.
    let on_backup = "count(ALERTS{alertname=\"OriginswitchSiteOnBackup\",site=\"www\"})";
    stack.until_query(on_backup, 1.0).await;

    stack.world.revive_main().await;
    stack.until_returned().await;
    let switch = stack.last_switch().await;
    assert_eq!(switch["reason"], "failback", "{switch:#}");
    assert_eq!(switch["trigger"], "alert", "{switch:#}");
    let switches = "sum(originswitch_switches_total{site=\"www\",result=\"confirmed\"})";
    stack.until_query(switches, 2.0).await;
    stack.assert_there_and_back().await;

    // The token was shown from the first delivery on.
    let metrics = stack.server.metrics().await;
    let unmatched = metrics.get("alerts_unmatched_total", &[]);
    let refused = metrics.get("webhook_requests_total", &[("code", "401")]);
    assert_eq!(refused.unwrap_or_default(), 0.0);
    assert_eq!(unmatched, Some(0.0), "the Watchdog is nobody's and known");
    promtool_finds_nothing(&tools, &stack.server.get("/metrics").await.text).await;
    every_rule_was_evaluated(&stack).await;
    // Takes seconds in which nothing else goes on, so it is done here, alone.
    stack.world.assert_published(true);
}

/// Every shipped rule, on what the incident left behind.
async fn every_rule_was_evaluated(stack: &Stack) {
    let rules = async || {
        let data = stack.ask("rules", &[]).await.unwrap();
        let groups = data["groups"].as_array().unwrap().clone();
        let rules = |group: &Value| group["rules"].as_array().unwrap().clone();
        groups.iter().flat_map(rules).collect::<Vec<_>>()
    };
    stack
        .until("every rule was evaluated", async || {
            rules().await.iter().all(|rule| rule["health"] != "unknown")
        })
        .await;
    for rule in rules().await {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
}

/// `promtool check metrics` takes everything, and has no advice.
async fn promtool_finds_nothing(tools: &Tools, metrics: &str) {
    let mut promtool = tools.command("promtool");
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}
