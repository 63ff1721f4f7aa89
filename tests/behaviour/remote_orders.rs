//! The program as a client of a running server: orders, what is so then, and
//! what stands after a crash.

use crate::common::*;
use crate::remote::{ask, done, fled_for_an_hour, sentence, three_sites};
use serde_json::{Value, json};

/// A time, as a line that is printed has it.
const TIME: &str = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ";

#[tokio::test]
async fn a_pin_moves_the_site_and_stands_until_it_is_ended() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let backup = regex::escape(&world.backup_ip());
    let terms = ["--for", "2h", "--reason", "kernel update"];
    let ended = ask(&server, &[&["pin", "www", "backup"][..], &terms].concat()).await;
    assert_like(
        done(&ended),
        &format!(
            r"www: pinned to backup \({backup}\) until {TIME} \(kernel update\): switch pin, confirmed\n"
        ),
    );
    assert!(world.on_backup());
    server.wait_reason(SITE, "on_main").await;
    let status = ask(&server, &["status"]).await;
    assert_like(
        done(&status).lines().last().unwrap(),
        &format!(
            r"  pinned to backup \({backup}\) until {TIME} \(kernel update\): `originswitch unpin www` ends it"
        ),
    );

    // MAIN is not to be had while the pin stands.
    let ended = ask(&server, &["failback", "www"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .out
            .contains("www: not back on main, pinned to backup")
    );
    assert!(ended.out.contains("`originswitch unpin www` ends it"));

    let ended = ask(&server, &["unpin", "www", "--json"]).await;
    assert_eq!(ended.json()["sites"][0]["pin"], Value::Null, "{ended:?}");
    let ended = ask(&server, &["unpin", "www"]).await;
    assert!(
        done(&ended).starts_with("www: not pinned, on "),
        "{ended:?}"
    );
    let ended = ask(&server, &["pin", "www", "main", "--json"]).await;
    let decision = ended.json();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(decision["pin"]["origin"], "main", "{decision}");
    assert!(world.on_main());
}

#[tokio::test]
async fn an_origin_that_is_down_is_pinned_by_force_only() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.kill_backup().await;
    let ended = ask(&server, &["pin", "www", "backup"]).await;
    let said = sentence(&ended, 1);
    assert!(said.contains("is down") && said.contains("force"), "{said}");
    assert!(world.on_main());
    for wrong in [
        &["pin", "www", "backup-7"][..],
        &["pin", "www", "backup", "--for", "soon"],
        &["freeze", "www", "--reason", "two\nlines"],
    ] {
        sentence(&ask(&server, wrong).await, 2);
    }

    let ended = ask(&server, &["pin", "www", "backup", "--force"]).await;
    let backup = world.backup_ip();
    assert_eq!(
        done(&ended),
        format!("www: pinned to backup ({backup}), by force, and frozen: switch pin, confirmed\n")
    );
    assert!(world.on_backup());
    held(&server, SITE, Some("frozen")).await;
    let status = ask(&server, &["status"]).await;
    let row = done(&status).lines().nth(1).unwrap();
    assert!(
        row.ends_with("  hold frozen  originswitch unpin www"),
        "{row}"
    );
    done(&ask(&server, &["unpin", "www"]).await);
    server.wait_reason(SITE, "failover").await;
    assert!(world.on_main());
}

#[tokio::test]
async fn a_freeze_of_all_holds_every_site_until_it_is_lifted() {
    let mut world = World::new().await;
    let server = three_sites(&mut world).await;
    let ended = ask(&server, &["freeze", "--for", "1h", "--reason", "move"]).await;
    assert_like(
        done(&ended),
        &format!(r"all sites: frozen until {TIME} \(move\)\n"),
    );
    let ended = ask(&server, &["freeze", "www"]).await;
    assert_eq!(done(&ended), "www: frozen\n");
    world.kill_main().await;
    let hold = server.decision_on_alert("shop", "firing").await;
    assert_eq!(hold["reason"], "frozen", "{hold}");
    for site in ["www", "blog"] {
        held(&server, site, Some("frozen")).await;
    }
    let status = ask(&server, &["status"]).await;
    let lines: Vec<&str> = done(&status).lines().collect();
    assert_like(
        lines[0],
        &format!(r"all sites are frozen until {TIME} \(move\): `originswitch unfreeze` ends it"),
    );
    let row = |site: &str| lines.iter().find(|line| line.starts_with(site)).unwrap();
    assert!(row("shop").ends_with("  hold frozen  originswitch unfreeze"));
    assert!(row("www").ends_with("  hold frozen  originswitch unfreeze www"));
    assert_eq!(
        *lines.last().unwrap(),
        "  frozen: `originswitch unfreeze www` ends it"
    );

    let ended = ask(&server, &["pin", "www", "backup"]).await;
    assert!(sentence(&ended, 1).contains("`originswitch unfreeze www` first"));
    let ended = ask(&server, &["unfreeze", "www", "blog"]).await;
    let still = "all sites are frozen until .* `originswitch unfreeze` ends it";
    assert_like(done(&ended), &format!("www: {still}\nblog: {still}\n"));
    assert_eq!(world.write_requests().len(), 0);
    let ended = ask(&server, &["unfreeze", "--json"]).await;
    assert_eq!(ended.json(), json!({"frozen": false, "freeze": null}));
    for site in ["www", "shop", "blog"] {
        server.wait_reason(site, "main_down").await;
    }
    assert!(world.on_backup());
}

#[tokio::test]
async fn pins_and_freezes_survive_a_crash() {
    let mut world = World::new().await;
    let mut server = three_sites(&mut world).await;
    done(&ask(&server, &["pin", "www", "backup", "--for", "2h"]).await);
    done(&ask(&server, &["freeze", "shop", "--for", "1h"]).await);
    done(&ask(&server, &["freeze", "--reason", "move"]).await);
    let told = async |server: &Server| {
        let status = ask(server, &["status", "--json"]).await.json();
        let sites = status["sites"].as_array().unwrap();
        let orders = sites
            .iter()
            .map(|site| json!([site["pin"], site["freeze"]]));
        (status["all"].clone(), orders.collect::<Vec<_>>())
    };
    let before = told(&server).await;
    let server = server.restart().await;
    for site in ["www", "shop", "blog"] {
        server
            .wait_site(site, "a decision", |site| site["last_decision"].is_object())
            .await;
    }
    assert_eq!(told(&server).await, before);
    let status = ask(&server, &["status"]).await;
    assert!(done(&status).starts_with("all sites are frozen (move): "));
    assert!(world.on_backup());
    assert_eq!(world.write_requests().len(), 1, "the pin's own");
}

#[tokio::test]
async fn trust_lets_a_site_go_whose_origin_was_never_seen_up() {
    let world = World::new().await;
    world.kill_main().await;
    let server = world.serve().await;
    held(&server, SITE, Some("unproven")).await;
    let status = ask(&server, &["status"]).await;
    assert!(done(&status).contains("  hold unproven  originswitch trust www\n"));
    let ended = ask(&server, &["trust", "www"]).await;
    assert_eq!(
        done(&ended),
        "www: its origins count as proven: switch failover to backup, confirmed\n"
    );
    assert!(world.on_backup());
}

#[tokio::test]
async fn a_failback_that_cannot_be_had_is_a_failure_and_says_why() {
    let mut world = World::new().await;
    let server = fled_for_an_hour(&mut world).await;
    let ended = ask(&server, &["failback", "www"]).await;
    assert_eq!((ended.code, &*ended.err), (Some(1), ""), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "www: not back on main: keep main_down");
    assert!(lines[1].starts_with("  backup (") && lines[1].contains("is down: "));
    let ended = ask(&server, &["failback", "www", "--json"]).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.json()["decisions"][0]["reason"], "main_down");

    world.revive_main().await;
    origin_is(&server, SITE, "main", "up").await;
    done(&ask(&server, &["freeze", "www"]).await);
    let ended = ask(&server, &["failback", "www"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "www: not back on main: hold frozen");
    assert!(lines[1].ends_with("`originswitch unfreeze www` lifts this"));
    assert_eq!(
        done(&ask(&server, &["unfreeze", "www"]).await),
        "www: not frozen\n"
    );
    let main = world.main_ip();
    let ended = ask(&server, &["failback", "www"]).await;
    let wanted = format!("www: on main ({main}): switch failback to main, confirmed\n");
    assert_eq!(done(&ended), wanted);
    let ended = ask(&server, &["failback", "www"]).await;
    assert_eq!(
        done(&ended),
        format!("www: on main ({main}): keep on_main\n")
    );
}

#[tokio::test]
async fn a_spent_budget_is_released_for_one_site() {
    let mut world = World::new().await;
    world.rule += "max_switches = 2\n";
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    server.decision_on_alert(SITE, "resolved").await;
    world.revive_main().await;
    held(&server, SITE, Some("switch_budget")).await;
    let status = ask(&server, &["status"]).await;
    assert!(done(&status).contains("  hold switch_budget  originswitch release www\n"));
    let ended = ask(&server, &["release", "www"]).await;
    assert!(done(&ended).starts_with("www: released: "), "{ended:?}");
    server.wait_reason(SITE, "failback").await;
    assert!(world.on_main());
}

#[tokio::test]
async fn the_brake_across_sites_is_released_for_all() {
    let mut world = World::new().await;
    world.more = "[guard]\nmax_sites_together = 1\n".into();
    let server = three_sites(&mut world).await;
    world.kill_main().await;
    let braked = async || {
        let sites = server.sites().await;
        let held = sites.into_iter().filter(|site| site["hold"] == "brake");
        held.map(|site| site["name"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    server
        .wait_until("two are held", async || braked().await.len() == 2)
        .await;
    let held = braked().await;
    let status = ask(&server, &["status"]).await;
    for site in &held {
        let row = done(&status).lines().find(|line| line.starts_with(&**site));
        let row = row.unwrap();
        assert!(row.contains("  hold brake  "), "{row}");
        assert!(
            row.ends_with(&format!("originswitch release {site}")),
            "{row}"
        );
    }
    let ended = ask(&server, &["release"]).await;
    let line = |site: &String| format!("{site}: let go by the brake, and looked at again\n");
    assert_eq!(done(&ended), held.iter().map(line).collect::<String>());
    server
        .wait_until("none is held", async || braked().await.is_empty())
        .await;
    let ended = ask(&server, &["release"]).await;
    assert_eq!(done(&ended), "the brake held no site\n");
}
