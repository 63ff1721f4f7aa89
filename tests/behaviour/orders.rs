//! The calls with which people order: pins, freezes, releases.

use crate::common::*;
use serde_json::{Value, json};
use std::time::Duration;

const PIN: &str = "/api/v1/sites/www/pin";
const FREEZE: &str = "/api/v1/sites/www/freeze";
const ALL: &str = "/api/v1/freeze";

/// PUT with this body.
async fn put(server: &Server, path: &str, body: Value) -> Reply {
    send(request(server, "PUT", path).json(&body)).await
}

/// The same, which must be taken.
async fn puts(server: &Server, path: &str, body: Value) -> Value {
    let reply = put(server, path, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn deletes(server: &Server, path: &str) -> Value {
    let reply = call(server, "DELETE", path).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// On MAIN, with BACKUP known to be up, and returns that nobody waits for.
async fn at_rest() -> (World, Server) {
    at_rest_with("confirm_for = \"1s\"\nfailback_after = \"1h\"\n").await
}

async fn at_rest_with(rule: &str) -> (World, Server) {
    let mut world = World::new().await;
    world.rule = rule.into();
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    (world, server)
}

/// The time is about so far in the future.
fn ends_in(until: &Value, time: Duration) {
    let until: jiff::Timestamp = until.as_str().unwrap().parse().unwrap();
    let left = until.duration_since(jiff::Timestamp::now());
    let off = (left.as_secs_f64() - time.as_secs_f64()).abs();
    assert!(off < 30.0, "{until} is {left:?} away");
}

async fn stands(server: &Server, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    server.metrics().await.get(metric, labels)
}

#[tokio::test]
async fn a_pin_moves_the_site_and_is_shown_everywhere_until_it_is_lifted() {
    let (world, server) = at_rest_with("failback_after = \"1s\"\n").await;
    let terms = json!({"origin": "backup", "for": "2h", "reason": "kernel <update>"});
    let decision = puts(&server, PIN, terms).await;
    assert_eq!(decision["action"], "switch", "{decision}");
    assert_eq!(decision["reason"], "pin");
    assert_eq!(decision["result"], "confirmed");
    assert_eq!(decision["trigger"], "manual");
    assert_eq!(decision["steps"], json!([]));
    assert_eq!(decision["to"]["role"], "backup");
    assert!(world.on_backup());
    let pin = &decision["pin"];
    assert_eq!(pin["origin"], "backup");
    assert_eq!(pin["address"], world.backup_ip());
    assert_eq!(pin["reason"], "kernel <update>");
    assert_eq!(pin["forced"], false);
    ends_in(&pin["until"], Duration::from_secs(7_200));
    assert!(explanation(&decision).contains("pinned to backup until "));

    let site = server.site(SITE).await;
    assert_eq!(&site["pin"], pin);
    assert_eq!(
        (&site["frozen"], &site["freeze"]),
        (&json!(false), &Value::Null)
    );
    let labels = [("site", SITE), ("origin", "backup")];
    assert_eq!(stands(&server, "pinned", &labels).await, Some(1.0));
    let page = server.get("/").await.text;
    assert!(page.contains("<b>pinned</b> to backup"), "{page}");
    assert!(page.contains("kernel &lt;update&gt;"), "{page}");
    let id = decision["id"].as_i64().unwrap();
    let one = server.get(&format!("/api/v1/decisions/{id}")).await.json();
    assert_eq!(one, decision);
    let metrics = server.metrics().await;
    assert_eq!(metrics.switches("main", "backup", "confirmed"), Some(1.0));
    let passes = [("action", "switch"), ("reason", "pin")];
    assert_eq!(metrics.get("decisions_total", &passes), Some(1.0));

    // The rule has BACKUP for its MAIN, and says so in each decision.
    let rests = |site: &Value| {
        let last = &site["last_decision"];
        last["reason"] == "on_main" && &last["pin"] == pin
    };
    server.wait_site(SITE, "it rests on BACKUP", rests).await;

    let site = deletes(&server, PIN).await;
    assert_eq!(site["pin"], Value::Null);
    assert_eq!(site["name"], SITE);
    assert_eq!(stands(&server, "pinned", &[]).await, None);
    let back = decided(&server, SITE, "failback").await;
    assert_eq!(back["to"]["role"], "main");
    assert_eq!(back["pin"], Value::Null);
    // There is nothing to lift any more, which is no mistake.
    assert_eq!(deletes(&server, PIN).await["pin"], Value::Null);
}

#[tokio::test]
async fn a_pin_names_its_origin_by_part_or_address_or_not_at_all() {
    let (world, server) = at_rest().await;
    let by_address = json!({"origin": world.backup_ip()});
    let decision = puts(&server, PIN, by_address).await;
    assert_eq!(decision["pin"]["origin"], "backup");
    assert_eq!(decision["pin"]["until"], Value::Null);
    assert_eq!(decision["pin"]["reason"], "");
    // Where it is, with an empty object and with no body at all.
    for body in ["{}", "", "  \n", r#"{"origin":null,"for":null}"#] {
        let reply = send(request(&server, "PUT", PIN).body(body)).await;
        assert_eq!(reply.status, 200, "{body:?} {reply:?}");
        let decision = reply.json();
        assert_eq!(decision["pin"]["origin"], "backup", "{body:?} {decision}");
        assert_eq!(decision["reason"], "on_main", "{decision}");
    }
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn a_pin_ends_by_itself() {
    let (world, server) = at_rest_with("failback_after = \"1s\"\n").await;
    puts(&server, PIN, json!({"origin": "backup", "for": "1s500ms"})).await;
    assert!(world.on_backup());
    server
        .wait_site(SITE, "the pin ends", |site| site["pin"].is_null())
        .await;
    decided(&server, SITE, "failback").await;
    assert!(world.on_main());
}

#[tokio::test]
async fn a_pin_to_an_origin_that_is_not_up_is_a_conflict_unless_it_is_forced() {
    let (world, server) = at_rest().await;
    world.kill_backup().await;
    origin_is(&server, SITE, "backup", "down").await;
    let reply = put(&server, PIN, json!({"origin": "backup"})).await;
    let sentence = refused(&reply, 409);
    let says = format!(
        "backup ({}) is down: connect: connection refused, 3 of 3 probes: \
         pin another origin, or force it, which also freezes the site",
        world.backup_ip()
    );
    assert_eq!(sentence, says);
    let site = server.site(SITE).await;
    assert_eq!(
        (&site["pin"], &site["frozen"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(world.write_requests().len(), 0);

    let forced = json!({"origin": "backup", "force": true, "reason": "I know"});
    let decision = puts(&server, PIN, forced).await;
    assert_eq!(decision["reason"], "pin", "{decision}");
    assert_eq!(decision["pin"]["forced"], true);
    assert_eq!(decision["frozen"]["scope"], "pin");
    assert!(world.on_backup());
    let hold = decided(&server, SITE, "frozen").await;
    assert!(
        explanation(&hold).contains("`originswitch unpin www` lifts this"),
        "{hold}"
    );
    held(&server, SITE, Some("frozen")).await;
    let site = server.site(SITE).await;
    assert_eq!(
        (&site["frozen"], &site["freeze"]["scope"]),
        (&json!(true), &json!("pin"))
    );
    assert_eq!(site["freeze"]["reason"], "I know");
    assert_eq!(
        stands(&server, "frozen", &[("site", SITE)]).await,
        Some(1.0)
    );
    server.post_alert(SITE, "firing").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.on_backup(), "the rule does not leave it");

    // The freeze goes, the pin stays, and the rule leaves the dead origin.
    let site = deletes(&server, FREEZE).await;
    assert_eq!(
        (&site["pin"]["forced"], &site["frozen"]),
        (&json!(false), &json!(false))
    );
    decided(&server, SITE, "failover").await;
    assert!(world.on_main());
    assert_eq!(server.site(SITE).await["pin"]["origin"], "backup");
}

#[tokio::test]
async fn a_frozen_site_is_not_written_to_and_says_what_lifts_it() {
    let (world, server) = at_rest().await;
    let terms = json!({"for": "2h", "reason": "disks are copied"});
    let site = puts(&server, FREEZE, terms).await;
    assert_eq!(
        (&site["name"], &site["frozen"]),
        (&json!(SITE), &json!(true))
    );
    let freeze = &site["freeze"];
    assert_eq!(
        (&freeze["scope"], &freeze["reason"]),
        (&json!("site"), &json!("disks are copied"))
    );
    ends_in(&freeze["until"], Duration::from_secs(7_200));
    assert_eq!(
        stands(&server, "frozen", &[("site", SITE)]).await,
        Some(1.0)
    );
    let page = server.get("/").await.text;
    assert!(
        page.contains("frozen") && page.contains("disks are copied"),
        "{page}"
    );

    world.kill_main().await;
    let hold = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(
        (&hold["action"], &hold["reason"]),
        (&json!("hold"), &json!("frozen"))
    );
    assert_eq!(&hold["frozen"], freeze, "{hold}");
    assert_eq!(hold["steps"], json!([1, 2, 6, 7, 8]));
    let said = explanation(&hold);
    assert!(
        said.contains("`originswitch unfreeze www` lifts this"),
        "{said}"
    );
    // Nothing that a person asks for goes through it.
    for (method, path) in [
        ("POST", "/api/v1/sites/www/evaluate"),
        ("POST", "/api/v1/sites/www/failback"),
        ("POST", "/api/v1/sites/www/trust"),
        ("POST", "/api/v1/sites/www/release"),
    ] {
        let decision = call(&server, method, path).await.json();
        assert_eq!(decision["reason"], "frozen", "{path} {decision}");
    }
    for force in [false, true] {
        let reply = put(&server, PIN, json!({"origin": "backup", "force": force})).await;
        let sentence = refused(&reply, 409);
        assert_like(
            &sentence,
            r"the site is frozen until \S+ \(disks are copied\): `originswitch unfreeze www` first",
        );
    }
    assert_eq!(world.write_requests().len(), 0);

    let site = deletes(&server, FREEZE).await;
    assert_eq!(
        (&site["frozen"], &site["freeze"]),
        (&json!(false), &Value::Null)
    );
    server
        .wait_until("the site has left", async || world.on_backup())
        .await;
    assert_eq!(stands(&server, "frozen", &[]).await, None);
}

#[tokio::test]
async fn all_sites_are_frozen_and_thawed_with_one_call() {
    let world = World::new().await;
    let tables = [table(&world.main, ""), table(&world.backup, "")];
    let mut sites = String::new();
    for name in [SITE, "shop"] {
        let hostname = format!("{name}.example.com");
        if name != SITE {
            add_record(&world, &hostname, &world.main_ip());
        }
        sites += &site(name, &[&hostname], &tables, "");
    }
    let server = serve(&world, &sites).await;
    for name in [SITE, "shop"] {
        server.wait_reason(name, "on_main").await;
        origin_is(&server, name, "backup", "up").await;
    }
    let none = json!({"frozen": false, "freeze": null});
    assert_eq!(server.get(ALL).await.json(), none);
    let answer = puts(&server, ALL, json!({"reason": "night"})).await;
    let freeze = json!({"scope": "all", "until": null, "reason": "night"});
    let all = json!({"frozen": true, "freeze": freeze});
    assert_eq!(answer, all);
    assert_eq!(server.get(ALL).await.json(), all);
    // The shop has a freeze of its own too, which stays.
    puts(&server, "/api/v1/sites/shop/freeze", json!({})).await;

    world.kill_main().await;
    for (name, scope, lift) in [(SITE, "all", "unfreeze"), ("shop", "site", "unfreeze shop")] {
        let hold = server.decision_on_alert(name, "firing").await;
        assert_eq!(hold["reason"], "frozen", "{hold}");
        assert_eq!(hold["frozen"]["scope"], scope);
        let lift = format!("`originswitch {lift}` lifts this");
        assert!(explanation(&hold).contains(&lift), "{hold}");
        assert_eq!(
            stands(&server, "frozen", &[("site", name)]).await,
            Some(1.0)
        );
    }
    assert_eq!(deletes(&server, ALL).await, none);
    decided(&server, SITE, "failover").await;
    assert_eq!(contents(&world, "shop.example.com"), world.main_ip());
    assert_eq!(server.site("shop").await["frozen"], true);
    deletes(&server, "/api/v1/sites/shop/freeze").await;
    decided(&server, "shop", "failover").await;
}

#[tokio::test]
async fn pins_and_freezes_outlive_the_process() {
    let (world, mut server) = at_rest().await;
    puts(
        &server,
        PIN,
        json!({"origin": "backup", "for": "1h", "reason": "one"}),
    )
    .await;
    let freeze = puts(&server, FREEZE, json!({"for": "2h", "reason": "two"})).await;
    puts(&server, ALL, json!({"reason": "three"})).await;
    let pin = server.site(SITE).await["pin"].clone();
    server = server.restart().await;
    decided(&server, SITE, "on_main").await;
    let site = server.site(SITE).await;
    assert_eq!(
        (&site["pin"], &site["freeze"]),
        (&pin, &freeze["freeze"]),
        "{site}"
    );
    assert_eq!(server.get(ALL).await.json()["freeze"]["reason"], "three");
    world.kill_backup().await;
    server.post_alert(SITE, "firing").await;
    held(&server, SITE, Some("frozen")).await;
    deletes(&server, FREEZE).await;
    held(&server, SITE, Some("frozen")).await;
    assert_eq!(server.site(SITE).await["freeze"]["scope"], "all");
    // And so does their end.
    deletes(&server, PIN).await;
    deletes(&server, ALL).await;
    server = server.restart().await;
    server
        .wait_until("it leaves the dead one", async || world.on_main())
        .await;
    let site = server.site(SITE).await;
    assert_eq!(
        (&site["pin"], &site["frozen"]),
        (&Value::Null, &json!(false))
    );
}

#[tokio::test]
async fn a_freeze_is_answered_when_no_write_is_under_way() {
    use originswitch::sandbox::faults::{Effect, Fault, Matcher};
    for path in [FREEZE, ALL] {
        let (world, server) = at_rest().await;
        let slow = Effect::Latency(Duration::from_secs(2));
        world.cloudflare.fault(Fault::always(Matcher::Writes, slow));
        world.kill_main().await;
        server.post_alert(SITE, "firing").await;
        let begun = async || !world.write_requests().is_empty();
        server.wait_until("the write is under way", begun).await;
        puts(&server, path, json!({})).await;
        assert!(world.on_backup(), "what was under way is done");
        assert_eq!(server.switches().await[0]["result"], "confirmed");
    }
}

/// What is wrong with a body that a pin and a freeze have in common, and what
/// is said of it.
fn mistakes() -> Vec<(String, &'static str)> {
    let long = "x".repeat(501);
    let texts = [
        ("{", "the body cannot be read .* write .*"),
        ("nonsense", "the body cannot be read .*"),
        ("[]", "the body cannot be read .*"),
        (r#""2h""#, "the body cannot be read .*"),
        (r#"{"for":7200}"#, "the body cannot be read .*"),
        (r#"{"reason":null}"#, "the body cannot be read .*"),
        (
            r#"{"until":"2h"}"#,
            "the body cannot be read .*unknown field `until`.*",
        ),
        (
            r#"{"for":"0s"}"#,
            r#"for: "0s" must be longer than zero .* leave it out .*"#,
        ),
        (
            r#"{"for":"5000d"}"#,
            r#"for: "5000d" must be .* shorter than ten years.*"#,
        ),
        (
            r#"{"for":"99999999999999999999d"}"#,
            "for: .* is longer than 100 years.*|for: .* is no duration.*",
        ),
        (r#"{"for":"120"}"#, "for: .*120 has no unit.*"),
        (r#"{"for":"-2h"}"#, r#"for: "-2h" is no duration.*"#),
        (r#"{"for":""}"#, r#"for: "" is no duration.*"#),
        (r#"{"for":"soon"}"#, r#"for: "soon" is no duration.*"#),
        (
            r#"{"reason":"two\nlines"}"#,
            "reason: write one line of at most 500 letters",
        ),
    ];
    let texts = texts.map(|(body, says)| (body.to_owned(), says));
    let long = format!(r#"{{"reason":"{long}"}}"#);
    let mut all = texts.to_vec();
    all.push((long, "reason: write one line of at most 500 letters"));
    all
}

#[tokio::test]
async fn mistakes_are_answered_with_a_sentence_and_change_nothing() {
    let (world, server) = at_rest().await;
    for path in [PIN, FREEZE, ALL] {
        for (body, says) in mistakes() {
            let reply = send(request(&server, "PUT", path).body(body.clone())).await;
            let sentence = refused(&reply, 400);
            assert_like(&sentence, says);
        }
        let query = format!("{path}?for=2h");
        for method in ["PUT", "DELETE"] {
            let reply = call(&server, method, &query).await;
            assert!(refused(&reply, 400).contains("query"), "{method} {query}");
        }
    }
    for body in [
        json!({"origin": "backup-2"}),
        json!({"origin": "other"}),
        json!({"origin": "203.0.113.99"}),
        json!({"origin": ""}),
    ] {
        let sentence = refused(&put(&server, PIN, body).await, 400);
        assert_like(
            &sentence,
            r#"".*" is no origin of the site: name one of main, backup"#,
        );
    }
    let reply = put(&server, PIN, json!({"force": "yes"})).await;
    refused(&reply, 400);
    // A freeze knows no origin.
    refused(
        &put(&server, FREEZE, json!({"origin": "backup"})).await,
        400,
    );
    refused(&put(&server, ALL, json!({"force": true})).await, 400);

    for (method, path, status) in [
        ("PUT", "/api/v1/sites/nobody/pin", 404),
        ("DELETE", "/api/v1/sites/nobody/pin", 404),
        ("PUT", "/api/v1/sites/nobody/freeze", 404),
        ("DELETE", "/api/v1/sites/nobody/freeze", 404),
        ("GET", PIN, 405),
        ("POST", PIN, 405),
        ("GET", FREEZE, 405),
        ("POST", FREEZE, 405),
        ("POST", ALL, 405),
        ("GET", "/api/v1/brake/release", 405),
        ("POST", "/api/v1/brake/release?site=www", 400),
        ("POST", "/api/v1/brake", 404),
        ("GET", "/api/v1/evacuate", 405),
        ("GET", "/api/v1/decisions/yesterday", 400),
        ("GET", "/api/v1/decisions/999999", 404),
        ("GET", "/api/v1/decisions/-1", 404),
        ("DELETE", "/api/v1/decisions/1", 405),
    ] {
        let reply = call(&server, method, path).await;
        refused(&reply, status);
        let allow = header(&reply, "allow");
        assert_eq!(allow.is_empty(), status != 405, "{method} {path}: {allow}");
    }
    let site = server.site(SITE).await;
    assert_eq!(
        (&site["pin"], &site["frozen"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(server.get(ALL).await.json()["frozen"], false);
    assert_eq!(world.write_requests().len(), 0);
}

#[tokio::test]
async fn who_may_not_call_the_api_gives_no_orders() {
    let mut world = World::new().await;
    std::fs::write(world.folder.path("admin"), "open-sesame").unwrap();
    world.more = "[server]\nadmin_token_file = \"admin\"\n".into();
    world.configure();
    let server = world.folder.serve().await;
    for (method, path) in [
        ("PUT", PIN),
        ("DELETE", PIN),
        ("PUT", FREEZE),
        ("DELETE", FREEZE),
        ("GET", ALL),
        ("PUT", ALL),
        ("DELETE", ALL),
        ("POST", "/api/v1/brake/release"),
        ("POST", "/api/v1/evacuate"),
        ("GET", "/api/v1/decisions/1"),
    ] {
        refused(&call(&server, method, path).await, 401);
        let knows = request(&server, method, path).bearer_auth("open-sesame");
        assert_ne!(send(knows).await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_release_of_nothing_is_no_mistake() {
    let (_world, server) = at_rest().await;
    let reply = call(&server, "POST", "/api/v1/brake/release").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"released": []})));
}

#[tokio::test]
async fn a_decision_keeps_the_probes_that_decided_it() {
    let (world, mut server) = at_rest().await;
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    let id = decision["id"].as_i64().unwrap();
    server = server.restart().await;
    let stored = server.get(&format!("/api/v1/decisions/{id}")).await.json();
    for shown in [&decision, &stored] {
        let main = &shown["origins"][0];
        let evidence = main["evidence"].as_array().unwrap();
        assert_eq!(evidence.len(), 3, "{shown}");
        let mut before = String::new();
        for probe in evidence {
            assert_eq!(probe["result"], "down");
            assert_eq!(probe["reason"], "connect: connection refused");
            let started = probe["started"].as_str().unwrap();
            assert_like(started, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z");
            assert!(started > before.as_str() && started <= shown["time"].as_str().unwrap());
            before = started.to_owned();
            assert!(probe["duration_seconds"].as_f64().unwrap() < 1.0, "{probe}");
        }
        let backup = &shown["origins"][1];
        let good = &backup["evidence"][0];
        assert_eq!(good["result"], "up");
        assert_like(good["reason"].as_str().unwrap(), "200 in [0-9]+ ms");
        let phases = good["phases"].as_object().unwrap();
        let reached: Vec<&String> = phases.keys().collect();
        assert_eq!(reached, ["connect", "response"], "{good}");
        assert!(phases.values().all(|took| took.as_f64().unwrap() >= 0.0));
    }
    assert_eq!(stored["origins"], decision["origins"]);
    // The list of decisions has them, a list of sites stays short.
    let newest = &history(&server, SITE).await;
    let same = newest.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!(same["origins"], decision["origins"]);
    let sites = server.get("/api/v1/sites").await.text;
    assert!(!sites.contains("evidence"), "{sites}");
}

/// Five sites, each with a MAIN of its own.
async fn five_sites(world: &World) -> (Server, Vec<originswitch::sandbox::Origin>) {
    let mut text = String::new();
    let mut mains = Vec::new();
    for n in 0..5 {
        let main = origin(world, 100 + n, None);
        let hostname = format!("site-{n}.example.com");
        add_record(world, &hostname, &main.addr().ip().to_string());
        let tables = [table(&main, ""), table(&world.backup, "")];
        text += &site(&format!("site-{n}"), &[&hostname], &tables, "");
        mains.push(main);
    }
    let server = serve(world, &text).await;
    for n in 0..5 {
        server.wait_reason(&format!("site-{n}"), "on_main").await;
    }
    (server, mains)
}

#[tokio::test]
async fn the_brake_holds_what_leaves_together_until_it_is_released() {
    let mut world = World::new().await;
    world.more = "[guard]\nmax_sites_together = 2\ntogether_window = \"1h\"\n".into();
    let (mut server, mains) = five_sites(&world).await;
    for main in &mains {
        set_up(main, false).await;
    }
    let alerts: Vec<Value> = (0..5)
        .map(|n| alert(&format!("site-{n}"), "firing"))
        .collect();
    post_alerts(&server, "", json!(alerts)).await;
    let count = async |server: &Server| {
        let metrics = server.metrics().await;
        let moved = metrics.get("record_origin", &[("origin", "backup")]);
        let held = metrics.get("brake_held_sites", &[]);
        let holds = metrics.get("hold", &[("reason", "brake")]);
        (moved, held, holds)
    };
    let two = (Some(2.0), Some(3.0), Some(3.0));
    server
        .wait_until("two leave", async || count(&server).await == two)
        .await;
    // A log line names them, and so does the page.
    let log = server.log();
    let line = log.lines().find(|line| line.contains("the brake holds"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("site-") && line.contains("`originswitch release`"),
        "{line}"
    );
    assert!(server.get("/").await.text.contains("brake"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(count(&server).await, two);

    // A restart forgets neither.
    server = server.restart().await;
    post_alerts(&server, "", json!(alerts)).await;
    server
        .wait_until("three are held", async || count(&server).await == two)
        .await;
    assert_eq!(world.changes_sent(), 2);

    // One by name, and then the rest.
    let sites = server.sites().await;
    let held: Vec<&str> = sites
        .iter()
        .filter(|site| site["hold"] == "brake")
        .map(|site| site["name"].as_str().unwrap())
        .collect();
    let path = format!("/api/v1/sites/{}/release", held[0]);
    let decision = call(&server, "POST", &path).await.json();
    assert_eq!(decision["reason"], "failover", "{decision}");
    let three = (Some(3.0), Some(2.0), Some(2.0));
    server
        .wait_until("one more left", async || count(&server).await == three)
        .await;
    let reply = call(&server, "POST", "/api/v1/brake/release").await;
    assert_eq!(reply.json(), json!({"released": [held[1], held[2]]}));
    let five = (Some(5.0), Some(0.0), None);
    server
        .wait_until("all left", async || count(&server).await == five)
        .await;
}

#[tokio::test]
async fn a_control_target_that_is_killed_and_revived_blinds_and_opens_the_eyes() {
    let mut world = World::new().await;
    let control = origin(&world, 60, None);
    world.more = format!(
        "[guard]\ncontrol_targets = [\"http://{}\"]\n",
        control.addr()
    );
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    assert_eq!(stands(&server, "blind", &[]).await, Some(0.0));
    let asked = control.hits();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(control.hits(), asked, "nothing is being confirmed");

    set_up(&control, false).await;
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    held(&server, SITE, Some("blind")).await;
    assert_eq!(stands(&server, "blind", &[]).await, Some(1.0));
    origin_is(&server, SITE, "main", "unknown").await;
    let up = [("site", SITE), ("origin", "main")];
    assert_eq!(stands(&server, "origin_up", &up).await, None);
    server
        .wait_log("0 of 1 control targets answer, 1 are needed")
        .await;
    assert!(world.on_main());

    // MAIN is back before the target: nothing was switched, and sight is told.
    world.revive_main().await;
    origin_is(&server, SITE, "main", "up").await;
    held(&server, SITE, None).await;
    assert_eq!(stands(&server, "blind", &[]).await, Some(1.0));
    set_up(&control, true).await;
    server
        .wait_until("it sees", async || {
            stands(&server, "blind", &[]).await == Some(0.0)
        })
        .await;
    assert!(world.on_main());
    assert_eq!(world.cloudflare.writes(), 0);
    // And now MAIN dies in truth.
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
}
