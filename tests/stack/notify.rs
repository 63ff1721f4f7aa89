//! What the real Alertmanager makes of the alerts that it is told: they are
//! there while the site is off MAIN, and sent back here they do no harm.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::monitoring::{Program, Tools, free};
use crate::support::server::{Server, World, finish};

/// It sends everything on to originswitch, as a careless route does.
fn configuration(receiver: SocketAddr) -> String {
    format!(
        "route: {{receiver: all, group_by: [site], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n  - name: all\n    webhook_configs: [{{url: 'http://{receiver}/webhook'}}]\n"
    )
}

struct Pair {
    world: World,
    server: Server,
    alertmanager: Program,
    at: SocketAddr,
}

impl Pair {
    async fn start(tools: &Tools) -> Self {
        let mut world = World::new().await;
        let at = free(world.address(31));
        world.more = format!("[notify]\nalertmanager_urls = \"http://{at}\"\nhold_for = \"1s\"\n");
        let server = world.serve_on_main().await;
        let folder = world.folder.path("");
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, configuration(server.addr)).unwrap();
        let path = |flag: &str, path: &Path| format!("{flag}={}", path.display());
        let arguments = [
            path("--config.file", &file),
            path("--storage.path", &folder.join("alertmanager")),
            "--cluster.listen-address=".into(),
            format!("--web.listen-address={at}"),
        ];
        let alertmanager = tools.start("alertmanager", &folder, arguments.into());
        Self {
            world,
            server,
            alertmanager,
            at,
        }
    }

    /// What fires there, as amtool has it; `None` while it does not listen yet.
    async fn firing(&self, tools: &Tools, name: &str) -> Option<Vec<Value>> {
        let mut amtool = tools.command("amtool");
        amtool.args(["alert", "query", "-o", "json"]);
        amtool.arg(format!("--alertmanager.url=http://{}", self.at));
        amtool.arg(format!("alertname={name}"));
        let said = finish(amtool).await;
        let found = (said.code == Some(0)).then(|| serde_json::from_str(&said.out));
        found.map(|list| list.unwrap())
    }

    async fn until_firing(&self, tools: &Tools, name: &str, number: usize) -> Option<Value> {
        let what = format!("{number} alerts {name}\n{}", self.alertmanager.log());
        let mut found = None;
        self.server
            .wait_until(&what, async || {
                found = self.firing(tools, name).await;
                found.as_ref().map(Vec::len) == Some(number)
            })
            .await;
        found?.pop()
    }
}

#[tokio::test]
async fn alertmanager_shows_the_switch_until_the_site_is_back() {
    let Some(tools) = Tools::find() else { return };
    let pair = Pair::start(&tools).await;
    pair.world.kill_main().await;
    let alert = pair
        .until_firing(&tools, "OriginswitchSwitched", 1)
        .await
        .unwrap();
    assert_eq!(alert["labels"]["site"], "www", "{alert:#}");
    assert_eq!(alert["labels"]["from"], "main");
    assert_eq!(alert["labels"]["to"], "backup");
    assert_eq!(alert["status"]["state"], "active");
    let switch = pair.server.switches().await.pop().unwrap();
    assert_eq!(alert["annotations"]["description"], switch["explanation"]);

    // It came back as a webhook, and is nobody's.
    let heard = async || {
        pair.server
            .metrics()
            .await
            .get("alerts_unmatched_total", &[])
            > Some(0.0)
    };
    pair.server.wait_until("it comes back", heard).await;
    assert!(pair.server.site("www").await["alert"].is_null());

    pair.world.revive_main().await;
    pair.until_firing(&tools, "OriginswitchSwitched", 0).await;
    assert!(pair.world.on_main());
    let metrics = pair.server.metrics().await;
    let taken = metrics.get("notifications_total", &[("result", "sent")]);
    assert!(taken >= Some(2.0), "{metrics:?}");
}

#[tokio::test]
async fn alertmanager_shows_a_hold_that_lasts() {
    let Some(tools) = Tools::find() else { return };
    let pair = Pair::start(&tools).await;
    let freeze = pair.server.call(
        reqwest::Method::PUT,
        "/api/v1/sites/www/freeze",
        Some(serde_json::json!({"reason": "a test"})),
    );
    assert_eq!(freeze.await.status, 200);
    pair.world.kill_main().await;
    let alert = pair.until_firing(&tools, "OriginswitchHeld", 1).await;
    let alert = alert.unwrap();
    assert_eq!(alert["labels"]["reason"], "frozen", "{alert:#}");

    pair.world.revive_main().await;
    pair.until_firing(&tools, "OriginswitchHeld", 0).await;
    assert!(pair.world.on_main());
}
