//! What the examples' README says to type, typed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::files::{root, shell, shell_blocks};
use crate::monitoring::{Tools, free};
use crate::support::server::{Finished, Server, World, finish};
use crate::support::skip::skip;

const TOKEN: &str = "what-is-shown-to-be-let-in";

/// Whether there is a `curl`; said aloud if not.
fn curl() -> bool {
    let version = std::process::Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let there = version.is_ok_and(|status| status.success());
    if !there {
        skip("the lines with curl: there is no curl");
    }
    there
}

/// The README's lines that begin so.
fn lines(first_word: &str) -> Vec<&'static str> {
    let all = shell_blocks().into_iter().flat_map(str::lines);
    all.filter(|line| line.split_whitespace().next() == Some(first_word))
        .collect()
}

/// Runs a line against this server instead of the default one.
async fn typed(line: &str, server: &Server) -> Finished {
    let line = line.replace("127.0.0.1:10053", &server.addr.to_string());
    let mut command = shell(&line);
    command.env("ORIGINSWITCH_URL", format!("http://{}", server.addr));
    finish(command).await
}

/// How many of `www` were taken, and how many were nobody's.
fn taken(answer: &Value) -> (u64, u64) {
    let accepted = answer["accepted"].as_array().unwrap();
    let of_www = accepted.iter().find(|site| site["site"] == "www");
    (
        of_www.map_or(0, |site| site["alerts"].as_u64().unwrap()),
        answer["unmatched"].as_u64().unwrap(),
    )
}

#[tokio::test]
async fn each_line_with_curl_is_answered_as_it_is_told() {
    if !curl() {
        return;
    }
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let expected = [
        ("main-down.json", (1, 0)),
        ("main-up.json", (1, 0)),
        ("several-sites.json", (2, 2)),
        ("watchdog.json", (0, 0)),
    ];
    let mut bodies = lines("curl");
    // Beside the bodies there is a call of the API.
    let failback = bodies.pop().unwrap();
    assert_eq!(bodies.len(), expected.len());
    for (line, (name, alerts)) in bodies.into_iter().zip(expected) {
        assert!(line.contains(name), "{line}");
        let done = typed(line, &server).await;
        assert_eq!(taken(&done.json()), alerts, "{line}");
    }
    assert_eq!(server.site("www").await["alert"]["status"], "firing");
    for line in lines("sed") {
        if line.contains("curl") {
            let done = typed(line, &server).await;
            assert_eq!(taken(&done.json()), (2, 2), "{line}");
        }
    }
    let done = typed(failback, &server).await;
    assert_eq!(done.json()["reason"], "on_main", "{done:?}");
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn the_script_says_what_became_of_the_alert() {
    if !curl() {
        return;
    }
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let told = lines("alertmanager-examples/curl-alert.sh");
    assert_eq!(told.len(), 2);
    for (line, status) in told.into_iter().zip(["firing", "resolved"]) {
        let done = typed(line, &server).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(taken(&done.json()), (1, 0), "{line}");
        assert_eq!(server.site("www").await["alert"]["status"], status);
    }
    // What the script sends ends what the body began.
    for line in [
        lines("curl")[0],
        "alertmanager-examples/curl-alert.sh www.example.com resolved",
    ] {
        assert_eq!(typed(line, &server).await.code, Some(0), "{line}");
    }
    let unknown = typed("alertmanager-examples/curl-alert.sh shop firing", &server).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(
        unknown.err.contains("no site is called shop"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn the_script_refuses_what_is_no_site_and_no_status() {
    if !curl() {
        return;
    }
    let world = World::new().await;
    let server = world.serve_on_main().await;
    for (arguments, said) in [
        ("", "give a site and a status"),
        ("www", "give a site and a status"),
        ("www firing twice", "give a site and a status"),
        ("www down", "\"down\" is no status of an alert"),
        ("www FIRING", "\"FIRING\" is no status of an alert"),
        ("'' firing", "\"\" is no name for a site"),
        ("'w\"w' firing", "\"w\"w\" is no name for a site"),
        ("'a b' firing", "\"a b\" is no name for a site"),
    ] {
        let line = format!("alertmanager-examples/curl-alert.sh {arguments}");
        let done = typed(&line, &server).await;
        assert_eq!(done.code, Some(2), "{line}: {done:?}");
        assert!(done.err.contains(said), "{line}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{line}: {done:?}");
        assert_eq!(done.out, "");
    }
    let received = server.metrics().await;
    assert_eq!(received.get("alerts_received_total", &[]), None);
}

/// A server that asks for a token, and the file that has it.
async fn guarded(world: &World) -> Server {
    std::fs::write(world.folder.path("webhook.token"), format!("{TOKEN}\n")).unwrap();
    let keys = "[server]\nwebhook_token_file = \"webhook.token\"\n";
    let config = format!("{keys}{}", world.config());
    world.folder.configure(&config);
    let server = world.folder.serve().await;
    server.wait_reason("www", "on_main").await;
    server
}

#[tokio::test]
async fn the_script_shows_the_token_and_no_other_is_taken() {
    if !curl() {
        return;
    }
    let world = World::new().await;
    let server = guarded(&world).await;
    std::fs::write(world.folder.path("wrong.token"), "another\n").unwrap();
    for (token, code, said) in [
        ("webhook.token", 0, ""),
        ("wrong.token", 1, "the alert was not taken"),
        ("no.token", 2, "correct ORIGINSWITCH_WEBHOOK_TOKEN_FILE"),
    ] {
        let mut command = shell("exec alertmanager-examples/curl-alert.sh www firing");
        command.env("ORIGINSWITCH_URL", format!("http://{}/", server.addr));
        let file = world.folder.path(token);
        command.env("ORIGINSWITCH_WEBHOOK_TOKEN_FILE", file);
        let done = finish(command).await;
        assert_eq!(done.code, Some(code), "{token}: {done:?}");
        assert!(done.err.contains(said), "{token}: {done:?}");
        assert!(!format!("{done:?}").contains(TOKEN), "{done:?}");
    }
}

/// The shipped Alertmanager, before this server.
fn alertmanager(tools: &Tools, folder: &Path, on: SocketAddr, server: &Server) -> Child {
    let shipped = root().join("alertmanager-examples/alertmanager.yml");
    let token = folder.join("webhook.token").display().to_string();
    let text = std::fs::read_to_string(shipped)
        .unwrap()
        .replace("127.0.0.1:10053", &server.addr.to_string())
        .replace("/etc/prometheus/originswitch-webhook.token", &token);
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, text).unwrap();
    let mut command: Command = tools.command("alertmanager");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.join("am").display()))
        .arg("--cluster.listen-address=")
        .arg(format!("--web.listen-address={on}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The whole way: amtool, Alertmanager with the shipped routes and the token,
/// and what of it arrives.
#[tokio::test]
async fn each_line_with_amtool_arrives() {
    let Some(tools) = Tools::find() else { return };
    let world = World::new().await;
    let server = guarded(&world).await;
    let on = free(world.address(31));
    let _alertmanager = alertmanager(&tools, &world.folder.path(""), on, &server);
    let ready = format!("http://{on}/-/ready");
    server
        .wait_until("Alertmanager is ready", async || {
            let answer = crate::support::client().get(&ready).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;

    let arrives = async |line: &str, what: &str, ready: &dyn Fn(&Seen) -> bool| {
        let line = line.replace("127.0.0.1:9093", &on.to_string());
        let done = finish(shell(&line)).await;
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
        server
            .wait_until(what, async || ready(&Seen::of(&server).await))
            .await;
    };
    let mut told: Vec<_> = lines("amtool");
    told.retain(|line| line.starts_with("amtool alert add"));
    let [down, up, watchdog] = told[..] else {
        panic!("{told:?}")
    };
    arrives(down, "MAIN is said to be down", &|seen| {
        seen.alert == "firing"
    })
    .await;
    arrives(up, "MAIN is said to be up", &|seen| {
        seen.alert == "resolved"
    })
    .await;
    arrives(lines("for")[0], "several sites", &|seen| {
        seen.alert == "firing" && seen.unmatched == 2.0
    })
    .await;
    arrives(watchdog, "the Watchdog", &|seen| seen.path == Some(1.0)).await;
    let refused = server.metrics().await;
    assert_eq!(
        refused.get("webhook_requests_total", &[("code", "401")]),
        None
    );
    assert_eq!(world.cloudflare.writes(), 0);
}

/// What has come in.
struct Seen {
    alert: String,
    unmatched: f64,
    path: Option<f64>,
}

impl Seen {
    async fn of(server: &Server) -> Self {
        let site = server.site("www").await;
        let metrics = server.metrics().await;
        Self {
            alert: site["alert"]["status"].as_str().unwrap_or("").to_owned(),
            unmatched: metrics.get("alerts_unmatched_total", &[]).unwrap(),
            path: metrics.get("alert_path_up", &[]),
        }
    }
}
