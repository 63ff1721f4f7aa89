//! The rule's table, each row through the binary.

use crate::common::*;
use originswitch::sandbox::Origin;
use serde_json::{Value, json};

/// What a row comes to: steps, action, reason, and the origin switched to.
struct Expected<'a>(&'a [u8], &'a str, &'a str, Option<&'a str>);

const ROLES: [&str; 4] = ["main", "backup", "backup-2", "other"];

/// A world of MAIN, BACKUPs, and an address that is not configured.
struct Row {
    world: World,
    /// In the order of `ROLES`.
    origins: [Origin; 4],
    configured: usize,
}

impl Row {
    async fn new(backups: usize, record: &str, up: &[&str], wait: &str) -> Row {
        let mut world = World::new().await;
        world.rule =
            format!("confirm_for = \"1s\"\nrequire_proof = false\nfailback_after = \"{wait}\"");
        let (third, other) = (origin(&world, 30, None), origin(&world, 90, None));
        // An address that is not configured is probed with the site's settings.
        world.more = format!("[site.probe]\nport = {}\n", other.addr().port());
        let origins = [world.main.clone(), world.backup.clone(), third, other];
        for (role, origin) in ROLES.iter().zip(&origins) {
            set_up(origin, up.contains(role)).await;
        }
        let row = Row {
            world,
            origins,
            configured: 1 + backups,
        };
        let id = row.world.record.clone();
        row.world.cloudflare.edit(&id, &row.address(record));
        row
    }

    fn address(&self, role: &str) -> String {
        let index = ROLES.iter().position(|r| *r == role).unwrap();
        self.origins[index].addr().ip().to_string()
    }

    fn pointer(&self, role: &str) -> Value {
        json!({"role": role, "address": self.address(role)})
    }

    async fn serve(&self) -> Server {
        let configured = &self.origins[..self.configured];
        let tables: Vec<String> = configured.iter().map(|o| table(o, "")).collect();
        serve(&self.world, &site(SITE, &[HOSTNAME], &tables, "")).await
    }
}

async fn plays(backups: usize, record: &str, up: &[&str], expected: Expected<'_>) {
    let Expected(steps, action, reason, to) = expected;
    // The rule bare, but for a return that would follow upon the row.
    let wait = if reason == "failback" { "0s" } else { "1h" };
    let row = Row::new(backups, record, up, wait).await;
    let server = row.serve().await;

    let decision = history(&server, SITE).await[0].clone();
    assert_eq!(decision["steps"], json!(steps), "{decision}");
    assert_eq!(decision["action"], action, "{decision}");
    assert_eq!(decision["reason"], reason, "{decision}");
    assert_eq!(decision["trigger"], "start", "{decision}");
    assert_eq!(decision["record"], row.pointer(record), "{decision}");
    check_origins(&row, &decision, record, up);
    match to {
        Some(to) => {
            assert_eq!(decision["to"], row.pointer(to), "{decision}");
            assert_eq!(decision["result"], "confirmed", "{decision}");
            assert!(decision["duration_seconds"].as_f64().unwrap() > 0.0);
            let end = format!("; record switched to {to}");
            assert!(explanation(&decision).ends_with(&end), "{decision}");
        }
        None => {
            assert_eq!(decision["to"], Value::Null, "{decision}");
            assert_eq!(decision["result"], Value::Null, "{decision}");
        }
    }
    let now = to.unwrap_or(record);
    assert_eq!(row.world.content(), row.address(now));

    // Deciding again changes nothing.
    let again = evaluate(&server, "").await;
    assert_ne!(again["action"], "switch", "{again}");
    assert_eq!(row.world.content(), row.address(now));
    assert_eq!(row.world.write_requests().len(), usize::from(to.is_some()));
    assert_eq!(server.site(SITE).await["record"], row.pointer(now));
    check_metrics(&server.metrics().await, record, now, (action, reason));
    row.world.assert_published(true);
}

/// Those that the walk had to ask are shown as they are.
fn check_origins(row: &Row, decision: &Value, record: &str, up: &[&str]) {
    let origins = decision["origins"].as_array().unwrap();
    let mut expected = ROLES[..row.configured].to_vec();
    if record == "other" {
        expected.push("other");
    }
    let roles: Vec<&Value> = origins.iter().map(|origin| &origin["role"]).collect();
    assert_eq!(roles, expected, "{decision}");
    for origin in origins {
        let role = origin["role"].as_str().unwrap();
        let state = origin["state"].as_str().unwrap();
        assert_eq!(origin["address"], row.address(role), "{decision}");
        let truth = if up.contains(&role) { "up" } else { "down" };
        assert!([truth, "unknown"].contains(&state), "{decision}");
        if role == record {
            assert_eq!(state, truth, "{decision}");
            let (like, probes) = match truth {
                "up" => ("200 in [0-9]+ ms", 2),
                _ => ("connect: connection refused", 3),
            };
            assert_like(origin["reason"].as_str().unwrap(), like);
            assert!(origin["probes"].as_u64().unwrap() >= probes, "{decision}");
            let clause = format!("{role} ({}) is {truth}", row.address(role));
            assert!(explanation(decision).starts_with(&clause), "{decision}");
        }
    }
}

fn check_metrics(metrics: &Metrics, before: &str, now: &str, (action, reason): (&str, &str)) {
    let passes = metrics.get(
        "decisions_total",
        &[("site", SITE), ("action", action), ("reason", reason)],
    );
    assert!(passes.unwrap() >= 1.0, "{action} {reason}");
    let switches = metrics.get("switches_total", &[("result", "confirmed")]);
    if before == now {
        assert_eq!(switches, Some(0.0));
    } else {
        assert_eq!(switches, Some(1.0));
        assert_eq!(metrics.switches(before, now, "confirmed"), Some(1.0));
    }
    assert_eq!(metrics.get("record_origin", &[("origin", now)]), Some(1.0));
    assert_eq!(metrics.get("record_origin", &[]), Some(1.0), "only one");
}

macro_rules! rows {
    ($($name:ident: $backups:literal $record:literal [$($up:literal)*] =>
        $steps:expr, $action:literal $reason:literal $(to $to:literal)?;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let to: &[&str] = &[$($to)?];
            let expected = Expected(&$steps, $action, $reason, to.first().copied());
            plays($backups, $record, &[$($up),*], expected).await;
        }
    )*};
}

// Backups, what the record holds, who is up => what comes of it.
rows! {
    main_up_beside_a_healthy_backup: 1 "main" ["main" "backup"] => [1, 2, 3], "keep" "on_main";
    main_up_beside_a_dead_backup: 1 "main" ["main"] => [1, 2, 3], "keep" "on_main";
    main_down_and_backup_up: 1 "main" ["backup"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup";
    main_and_backup_down: 1 "main" [] => [1, 2, 6, 7], "keep" "all_down";
    on_backup_and_both_up: 1 "backup" ["main" "backup"] => [1, 2, 3, 4, 5], "switch" "failback" to "main";
    on_backup_while_main_is_down: 1 "backup" ["backup"] => [1, 2, 3, 4], "keep" "main_down";
    on_a_dead_backup_beside_main: 1 "backup" ["main"] => [1, 2, 6, 7, 8], "switch" "failover" to "main";
    on_backup_and_both_down: 1 "backup" [] => [1, 2, 6, 7], "keep" "all_down";
    elsewhere_and_all_up: 1 "other" ["other" "main" "backup"] => [1, 2, 3, 4, 5], "switch" "failback" to "main";
    elsewhere_and_up_beside_main: 1 "other" ["other" "main"] => [1, 2, 3, 4, 5], "switch" "failback" to "main";
    elsewhere_and_up_while_main_is_down: 1 "other" ["other" "backup"] => [1, 2, 3, 4], "keep" "main_down";
    elsewhere_and_the_only_one_up: 1 "other" ["other"] => [1, 2, 3, 4], "keep" "main_down";
    elsewhere_and_dead_beside_both: 1 "other" ["main" "backup"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup";
    elsewhere_and_dead_beside_backup: 1 "other" ["backup"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup";
    elsewhere_and_dead_beside_main: 1 "other" ["main"] => [1, 2, 6, 7], "switch" "failover" to "main";
    elsewhere_and_all_dead: 1 "other" [] => [1, 2, 6, 7], "keep" "all_down";

    the_first_backup_is_asked_first: 2 "main" ["backup" "backup-2"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup";
    then_the_second: 2 "main" ["backup-2"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup-2";
    from_a_dead_backup_main_is_asked_first: 2 "backup" ["main" "backup-2"] => [1, 2, 6, 7, 8], "switch" "failover" to "main";
    the_current_backup_is_left_out: 2 "backup" ["backup-2"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup-2";
    from_the_second_backup_to_the_first: 2 "backup-2" ["backup"] => [1, 2, 6, 7, 8], "switch" "failover" to "backup";
    a_healthy_backup_is_not_left_for_another: 2 "backup-2" ["backup" "backup-2"] => [1, 2, 3, 4], "keep" "main_down";
    three_dead_origins: 2 "main" [] => [1, 2, 6, 7], "keep" "all_down";
}
