//! Giving up an address: every site whose record holds it goes elsewhere, and
//! is pinned there until that is undone.

use crate::common::*;
use crate::remote::{ask, done, sentence, three_sites};
use serde_json::{Value, json};

const EVACUATE: &str = "/api/v1/evacuate";

async fn evacuate(server: &Server, body: Value) -> Reply {
    server.post(EVACUATE, body).await
}

/// The same, which must be taken.
async fn evacuated(server: &Server, body: Value) -> Value {
    let reply = evacuate(server, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// The names in a list of the answer.
fn names(answer: &Value, list: &str) -> Vec<String> {
    let sites = answer[list].as_array().unwrap().iter();
    let name = |site: &Value| site["site"].as_str().or(site.as_str()).unwrap().to_owned();
    sites.map(name).collect()
}

/// Why this site did not move.
fn why(answer: &Value, site: &str) -> String {
    let mut all = answer["not_moved"].as_array().unwrap().iter();
    let one = all.find(|one| one["site"] == site);
    let one = one.unwrap_or_else(|| panic!("{site} moved: {answer}"));
    one["why"].as_str().unwrap().to_owned()
}

/// What the records of the three sites hold.
fn held_by(world: &World) -> [String; 3] {
    ["blog", "shop", "www"].map(|name| contents(world, &format!("{name}.example.com")))
}

#[tokio::test]
async fn all_sites_go_elsewhere_stay_there_over_a_restart_and_come_back() {
    let mut world = World::new().await;
    world.rule = "failback_after = \"1s\"\nfailback_spread = \"1s\"\n".into();
    let mut server = three_sites(&mut world).await;
    let (main, backup) = (world.main_ip(), world.backup_ip());
    let on = |ip: &String| [ip.clone(), ip.clone(), ip.clone()];

    let dry = ask(&server, &["evacuate", &main, "--dry-run"]).await;
    let table = |result: &str| {
        let (from, to) = (format!("main ({main})"), format!("backup ({backup})"));
        let row = |site: &str| format!("{site:4}  {from}  {to}  {result}\n");
        let heads = format!(
            "SITE  {:f$}  {:t$}  RESULT\n",
            "FROM",
            "TO",
            f = from.len(),
            t = to.len()
        );
        [heads, row("blog"), row("shop"), row("www")].concat()
    };
    let counts = format!("{main}: 3 moved, 0 not (dry run)\n");
    assert_eq!(done(&dry), table("dry_run") + &counts);
    assert_eq!(held_by(&world), on(&main));
    assert_eq!(world.cloudflare.writes(), 0);
    assert_eq!(server.site(SITE).await["pin"], Value::Null);

    let terms = ["--for", "2h", "--reason", "hall 2 burns"];
    let ended = ask(&server, &[&["evacuate", &*main][..], &terms].concat()).await;
    let counts = format!("{main}: 3 moved, 0 not\n");
    assert_eq!(done(&ended), table("confirmed") + &counts);
    assert_eq!(held_by(&world), on(&backup));
    let reason = format!("evacuation of {main}: hall 2 burns");
    let pinned = async |server: &Server| {
        for site in server.sites().await {
            let pin = &site["pin"];
            assert_eq!(pin["reason"], reason, "{site}");
            assert_eq!(pin["origin"], "backup", "{site}");
            assert!(pin["until"].is_string() && pin["forced"] == false, "{pin}");
        }
    };
    pinned(&server).await;
    let status = ask(&server, &["status", "shop"]).await;
    assert!(done(&status).contains(&format!("({reason})")), "{status:?}");

    // Once is enough, and a restart forgets nothing.
    let again = evacuated(&server, json!({"address": main})).await;
    assert_eq!(
        again,
        json!({"address": main, "dry_run": false, "undo": false, "moved": [], "not_moved": []})
    );
    server = server.restart().await;
    for site in ["www", "shop", "blog"] {
        server.wait_reason(site, "on_main").await;
    }
    pinned(&server).await;
    assert_eq!(held_by(&world), on(&backup));
    assert_eq!(world.changes_sent(), 3);

    let body = json!({"address": main, "undo": true, "dry_run": true});
    let would = evacuated(&server, body).await;
    assert_eq!(names(&would, "released"), ["blog", "shop", "www"]);
    pinned(&server).await;
    let ended = ask(&server, &["evacuate", &main, "--undo"]).await;
    let released = format!("RELEASED\nblog\nshop\nwww\n{main}: 3 released, 0 not\n");
    assert_eq!(done(&ended), released);
    server
        .wait_until("they are back", async || held_by(&world) == on(&main))
        .await;
    let ended = ask(&server, &["evacuate", &main, "--undo", "--json"]).await;
    assert_eq!(names(&ended.json(), "released"), [""; 0]);
}

#[tokio::test]
async fn who_cannot_move_is_named_and_the_others_go() {
    let mut world = World::new().await;
    let server = three_sites(&mut world).await;
    let main = world.main_ip();
    let terms = json!({"origin": "main", "reason": "mine"});
    server
        .call(reqwest::Method::PUT, "/api/v1/sites/shop/pin", Some(terms))
        .await;
    server
        .call(reqwest::Method::PUT, "/api/v1/sites/blog/freeze", None)
        .await;

    // Under a freeze of all nothing moves, and every site says so.
    server
        .call(reqwest::Method::PUT, "/api/v1/freeze", None)
        .await;
    let answer = evacuated(&server, json!({"address": main})).await;
    assert_eq!(names(&answer, "moved"), [""; 0]);
    assert_eq!(names(&answer, "not_moved"), ["blog", "shop", "www"]);
    for site in ["shop", "www"] {
        let all = "all sites are frozen: `originswitch unfreeze` first";
        assert_eq!(why(&answer, site), all);
    }
    server
        .call(reqwest::Method::DELETE, "/api/v1/freeze", None)
        .await;

    let ended = ask(&server, &["evacuate", &main]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines[1].starts_with("www   main ("), "{ended:?}");
    assert_eq!(
        lines[2..],
        [
            "NOT MOVED  WHY",
            "blog       the site is frozen: `originswitch unfreeze blog` first",
            "shop       a person pinned it to main (mine): `originswitch unpin shop` first",
            &format!("{main}: 1 moved, 2 not"),
        ]
    );
    assert_eq!(
        held_by(&world),
        [main.clone(), main.clone(), world.backup_ip()]
    );

    // What the person pinned is not undone.
    let undone = evacuated(&server, json!({"address": main, "undo": true})).await;
    assert_eq!(names(&undone, "released"), ["www"]);
    assert_eq!(server.site("shop").await["pin"]["reason"], "mine");
}

#[tokio::test]
async fn without_a_refuge_nobody_moves() {
    let mut world = World::new().await;
    let server = three_sites(&mut world).await;
    world.kill_backup().await;
    for site in ["www", "shop", "blog"] {
        origin_is(&server, site, "backup", "down").await;
    }
    let (main, backup) = (world.main_ip(), world.backup_ip());
    let answer = evacuated(&server, json!({"address": main})).await;
    assert_eq!(names(&answer, "not_moved"), ["blog", "shop", "www"]);
    let said = why(&answer, "www");
    let down = format!("no other origin is up: backup ({backup}) is down: connect");
    assert!(said.starts_with(&down), "{said}");
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn a_target_that_falls_after_a_wave_is_sent_no_other() {
    let mut world = World::new().await;
    // The second wave takes seconds to confirm: in that time the target falls.
    world.rule = "rise = 30\n".into();
    world.more += "[guard]\nwave = [1, 1]\n";
    let server = three_sites(&mut world).await;
    let main = world.main_ip();
    let backup = world.backup_ip();
    let fall = async {
        server
            .wait_until("the first has moved", async || held_by(&world)[0] == backup)
            .await;
        world.kill_backup().await;
    };
    let (answer, ()) = tokio::join!(evacuated(&server, json!({"address": main})), fall);
    assert_eq!(names(&answer, "moved"), ["blog"]);
    assert_eq!(names(&answer, "not_moved"), ["shop", "www"]);
    assert!(
        why(&answer, "shop").contains("pin another origin"),
        "{answer}"
    );
    assert_eq!(why(&answer, "www"), "the target stopped answering");
    for site in ["shop", "www"] {
        assert_eq!(server.site(site).await["pin"], Value::Null);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_in_a_sentence() {
    let mut world = World::new().await;
    let server = three_sites(&mut world).await;
    let main = world.main_ip();
    for (body, status, says) in [
        (json!({}), 400, "address: name the origin to leave"),
        (
            json!({"address": " "}),
            400,
            "address: name the origin to leave",
        ),
        (json!({"address": "not an address"}), 400, "address: "),
        (json!({"address": "192.0.2.0/24"}), 400, "address: "),
        (
            json!({"address": main, "to": "backup"}),
            400,
            "unknown field `to`",
        ),
        (json!({"address": main, "for": "soon"}), 400, "for: "),
        (json!({"address": main, "reason": "a\nb"}), 400, "reason: "),
        (
            json!({"address": main, "dry_run": "yes"}),
            400,
            "the body cannot be read",
        ),
        (
            json!({"address": main, "undo": true, "for": "2h"}),
            400,
            "undo ends pins",
        ),
        (
            json!({"address": "192.0.2.99"}),
            404,
            "no site has an origin at 192.0.2.99",
        ),
        (
            json!({"address": "app.example.net", "undo": true}),
            404,
            "no site has an origin at app.example.net",
        ),
    ] {
        let reply = evacuate(&server, body.clone()).await;
        let said = refused(&reply, status);
        assert!(said.contains(says), "{body}: {said}");
    }
    let reply = call(&server, "POST", "/api/v1/evacuate?dry_run=true").await;
    refused(&reply, 400);
    assert_eq!(world.cloudflare.writes(), 0);
    let ended = ask(&server, &["evacuate", "192.0.2.99"]).await;
    let said = "no site has an origin at 192.0.2.99: /api/v1/sites lists them";
    assert_eq!(sentence(&ended, 2), said);
}

#[tokio::test]
async fn two_at_once_of_one_address_are_one_too_many_and_it_goes_on_without_its_caller() {
    let mut world = World::new().await;
    world.rule = "rise = 30\n".into();
    let server = three_sites(&mut world).await;
    let main = world.main_ip();
    let body = json!({"address": main});
    // The first caller goes away.
    let first = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        evacuate(&server, body.clone()),
    );
    assert!(first.await.is_err());
    let reply = evacuate(&server, body.clone()).await;
    let said = refused(&reply, 409);
    assert!(
        said.starts_with(&format!("an evacuation of {main} is under way")),
        "{said}"
    );
    let backup = world.backup_ip();
    let all = [backup.clone(), backup.clone(), backup.clone()];
    server
        .wait_until("all have moved", async || held_by(&world) == all)
        .await;
    server
        .wait_until("it has ended", async || {
            evacuate(&server, body.clone()).await.status == 200
        })
        .await;
}

#[tokio::test]
async fn who_is_frozen_while_the_waves_go_is_left_alone() {
    let mut world = World::new().await;
    // Each wave takes seconds to confirm.
    world.rule = "rise = 30\n".into();
    world.more += "[guard]\nwave = [1]\n";
    let server = three_sites(&mut world).await;
    let main = world.main_ip();
    let freeze = call(&server, "PUT", "/api/v1/sites/shop/freeze");
    let order = json!({"address": main});
    let (answer, frozen) = tokio::join!(evacuated(&server, order), freeze);
    assert_eq!(frozen.status, 200, "{frozen:?}");
    assert_eq!(names(&answer, "moved"), ["blog", "www"]);
    assert!(
        why(&answer, "shop").starts_with("the site is frozen"),
        "{answer}"
    );
}
