//! Every hold, reached through the running binary: what shows it, what it says
//! of what lifts it, and that this does lift it.

use crate::common::*;
use originswitch::rule::brakes::HoldReason;
use originswitch::rule::decision::Reason;
use originswitch::rule::standing::{Freeze, Frozen, Scope};
use originswitch::sandbox::cloudflare::{RecordSpec, TokenStatus};
use originswitch::sandbox::{Behaviour, Origin};
use serde_json::{Value, json};

/// The scenarios, and which hold each is about.
macro_rules! scenarios {
    ($($scenario:ident => $reason:ident,)*) => {
        const TOLD: &[HoldReason] = &[$(HoldReason::$reason),*];

        mod told {
            use originswitch::rule::brakes::HoldReason;
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario(HoldReason::$reason).await;
                }
            )*
        }
    };
}

scenarios! {
    the_cdn_answers_for_main => Unconfirmed,
    main_was_never_seen_up => Unproven,
    main_is_back_for_a_moment => FailbackWait,
    a_person_is_to_send_it_back => FailbackManual,
    main_is_back_while_an_alert_fires => AlertFiring,
    the_site_moved_too_often => SwitchBudget,
    the_record_holds_what_nobody_configured => UnknownOrigin,
    somebody_else_moved_the_record => Foreign,
    the_record_is_gone => RecordShape,
    the_token_is_revoked => CloudflareUnavailable,
    a_person_froze_the_site => Frozen,
    our_own_network_may_be_down => Blind,
    another_site_has_just_left_main => Brake,
    the_edge_still_reaches_main => EdgeUp,
    another_site_has_just_moved_to_backup => Wave,
}

#[test]
fn every_hold_has_its_scenario() {
    for reason in Reason::ALL {
        if let Reason::Hold(hold) = reason {
            let scenarios = TOLD.iter().filter(|told| **told == hold).count();
            assert_eq!(scenarios, 1, "{}", hold.as_str());
        }
    }
}

/// The hold is in the decision, on the site and in the metrics; it says this,
/// and which command lifts it, if one does.
async fn holds(server: &Server, reason: HoldReason, says: &str) {
    let word = reason.as_str();
    held(server, SITE, Some(word)).await;
    let decision = server.site(SITE).await["last_decision"].clone();
    assert_eq!(decision["action"], "hold", "{decision}");
    assert_eq!(decision["reason"], word, "{decision}");
    assert_eq!(decision["result"], Value::Null, "{decision}");
    let told = explanation(&decision);
    assert!(told.contains(says), "{told}");
    // In its words, a freeze names what it is of; here it is the site's own.
    let scope = Scope::Site;
    let freeze = Freeze {
        until: None,
        reason: "".into(),
    };
    if let Some(command) = reason.lift(SITE, Some(&Frozen { scope, freeze })) {
        let command = format!("`originswitch {command}` lifts this");
        assert!(told.contains(&command), "{told}");
    }
    let metrics = server.metrics().await;
    let labels = [("site", SITE), ("reason", word)];
    assert_eq!(metrics.get("hold", &labels), Some(1.0));
    assert_eq!(metrics.get("hold", &[("site", SITE)]), Some(1.0));
    let passes = [("site", SITE), ("action", "hold"), ("reason", word)];
    assert!(metrics.get("decisions_total", &passes) >= Some(1.0));
}

/// The hold is over, and the record is where the rule wants it.
async fn ends(server: &Server, role: &str) {
    let free = |site: &Value| site["hold"].is_null() && site["record"]["role"] == role;
    server.wait_site(SITE, role, free).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("hold", &[("site", SITE)]), None);
}

async fn posts(server: &Server, path: &str) {
    let reply = call(server, "POST", path).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// On BACKUP with MAIN well again, and these lines in `[rule]`.
async fn away(rule: &str) -> (World, Server) {
    let mut world = World::new().await;
    world.rule = format!("confirm_for = \"1s\"\n{rule}\n");
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    flee(&world, &server).await;
    server.post_alert(SITE, "resolved").await;
    world.revive_main().await;
    (world, server)
}

async fn flee(world: &World, server: &Server) {
    world.kill_main().await;
    let decision = server.decision_on_alert(SITE, "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
}

async fn the_cdn_answers_for_main(reason: HoldReason) {
    let world = World::new().await;
    let ray = Behaviour::with_header("CF-RAY", "8f3-FRA");
    world.main.set(ray).await.unwrap();
    let server = world.serve().await;
    holds(&server, reason, "cf-ray").await;
    world.revive_main().await;
    ends(&server, "main").await;
}

async fn main_was_never_seen_up(reason: HoldReason) {
    let world = World::new().await;
    world.kill_main().await;
    let server = world.serve().await;
    let check = "check its path, host, certificate and firewall";
    holds(&server, reason, check).await;
    posts(&server, "/api/v1/sites/www/trust").await;
    ends(&server, "backup").await;
}

async fn main_is_back_for_a_moment(reason: HoldReason) {
    let (_world, server) = away("failback_after = \"1h\"").await;
    holds(&server, reason, "of 1 h").await;
    posts(&server, "/api/v1/sites/www/failback").await;
    ends(&server, "main").await;
}

async fn a_person_is_to_send_it_back(reason: HoldReason) {
    let (_world, server) = away("failback = \"manual\"").await;
    holds(&server, reason, "a person sends the site back").await;
    posts(&server, "/api/v1/sites/www/failback").await;
    ends(&server, "main").await;
}

async fn main_is_back_while_an_alert_fires(reason: HoldReason) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    flee(&world, &server).await;
    world.revive_main().await;
    holds(&server, reason, "an alert for the site still fires").await;
    server.post_alert(SITE, "resolved").await;
    ends(&server, "main").await;
}

async fn the_site_moved_too_often(reason: HoldReason) {
    let (_world, server) = away("failback_after = \"1s\"\nmax_switches = 2").await;
    holds(&server, reason, "1 of 2 switches").await;
    posts(&server, "/api/v1/sites/www/release").await;
    ends(&server, "main").await;
}

async fn the_record_holds_what_nobody_configured(reason: HoldReason) {
    let mut world = World::new().await;
    world.rule += "unknown_origin = \"hold\"\n";
    let other = origin(&world, 90, None);
    world.more = format!("[site.probe]\nport = {}\n", other.addr().port());
    let address = other.addr().ip().to_string();
    world.cloudflare.edit(&world.record, &address);
    let server = world.serve().await;
    holds(&server, reason, "point the record to an origin").await;
    world.cloudflare.edit(&world.record, &world.main_ip());
    ends(&server, "main").await;
}

async fn somebody_else_moved_the_record(reason: HoldReason) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.cloudflare.edit(&world.record, &world.backup_ip());
    let what = format!("from {} to {}", world.main_ip(), world.backup_ip());
    holds(&server, reason, &what).await;
    posts(&server, "/api/v1/sites/www/release").await;
    ends(&server, "main").await;
}

async fn the_record_is_gone(reason: HoldReason) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    world.cloudflare.remove_record(&world.record);
    holds(&server, reason, HOSTNAME).await;
    let again = RecordSpec::new("A", HOSTNAME, &world.main_ip());
    world.cloudflare.add_record(&world.zone, again.proxied());
    ends(&server, "main").await;
}

async fn the_token_is_revoked(reason: HoldReason) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let token = crate::support::server::TOKEN;
    let set = |status| world.cloudflare.set_token(token, |it| it.status = status);
    set(TokenStatus::Disabled);
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    holds(&server, reason, "put a valid API token").await;
    set(TokenStatus::Active);
    ends(&server, "backup").await;
}

async fn a_person_froze_the_site(reason: HoldReason) {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let freeze = "/api/v1/sites/www/freeze";
    let terms = json!({"for": "2h", "reason": "the disks are being copied"});
    let reply = send(request(&server, "PUT", freeze).json(&terms)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    holds(&server, reason, "the disks are being copied").await;
    assert!(world.on_main());
    assert_eq!(call(&server, "DELETE", freeze).await.status, 200);
    ends(&server, "backup").await;
}

async fn our_own_network_may_be_down(reason: HoldReason) {
    let mut world = World::new().await;
    let control = origin(&world, 60, None);
    let target = format!("http://{}", control.addr());
    world.more = format!("[guard]\ncontrol_targets = [\"{target}\"]\n");
    let server = world.serve_on_main().await;
    set_up(&control, false).await;
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    holds(&server, reason, "fewer of guard.control_targets answer").await;
    assert_eq!(server.metrics().await.get("blind", &[]), Some(1.0));
    set_up(&control, true).await;
    ends(&server, "backup").await;
}

async fn another_site_has_just_left_main(reason: HoldReason) {
    let mut world = World::new().await;
    let blog = origin(&world, 40, None);
    add_record(&world, "blog.example.com", &blog.addr().ip().to_string());
    let tables = [table(&blog, ""), table(&world.backup, "")];
    world.more =
        site("blog", &["blog.example.com"], &tables, "") + "[guard]\nmax_sites_together = 1\n";
    let server = world.serve_on_main().await;
    server.wait_reason("blog", "on_main").await;
    set_up(&blog, false).await;
    let decision = server.decision_on_alert("blog", "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    holds(&server, reason, "guard.max_sites_together allows 1").await;
    assert!(world.on_main());
    posts(&server, "/api/v1/brake/release").await;
    ends(&server, "backup").await;
}

async fn another_site_has_just_moved_to_backup(reason: HoldReason) {
    let mut world = World::new().await;
    let blog = origin(&world, 40, None);
    add_record(&world, "blog.example.com", &blog.addr().ip().to_string());
    let tables = [table(&blog, ""), table(&world.backup, "")];
    world.more = site("blog", &["blog.example.com"], &tables, "")
        + "[guard]\nwave = [1]\nwave_pause = \"1h\"\n";
    let server = world.serve_on_main().await;
    server.wait_reason("blog", "on_main").await;
    set_up(&blog, false).await;
    let decision = server.decision_on_alert("blog", "firing").await;
    assert_eq!(decision["reason"], "failover", "{decision}");
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    let moved = format!("1 site has just moved to {}: ", world.backup_ip());
    holds(&server, reason, &moved).await;
    assert!(world.on_main());
    posts(&server, "/api/v1/sites/www/release").await;
    ends(&server, "backup").await;
}

async fn the_edge_still_reaches_main(reason: HoldReason) {
    let mut world = World::new().await;
    let edge = world.edge();
    // Behind the edge MAIN has another door, which is not ours to see.
    let door = Origin::start((world.main.addr().ip(), 0).into(), None).unwrap();
    edge.origin_at(door.addr());
    let server = world.serve_on_main().await;
    world.kill_main().await;
    server.post_alert(SITE, "firing").await;
    let check = "check the route and the firewall between here and there";
    holds(&server, reason, check).await;
    assert!(world.on_main());
    set_up(&door, false).await;
    ends(&server, "backup").await;
}
