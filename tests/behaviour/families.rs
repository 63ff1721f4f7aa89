//! Dual stack and CNAME origins, on a machine of their own making.
//!
//! Loopback has one IPv6 address, and `/etc/hosts` is not a test's to write.
//! So these run in namespaces of their own, with more addresses and with
//! other hosts; the test outside starts them there.

use crate::common::*;
use originswitch::sandbox::Origin;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;

const NAME: &str = "dual.example.com";
const MAIN_6: &str = "fd00:6::10";
const BACKUP_6: &str = "fd00:6::20";

const PREPARE: &str = "set -e
ip link set lo up
ip -6 addr add fd00:6::10/128 dev lo
ip -6 addr add fd00:6::20/128 dev lo
hosts=$(mktemp)
cat > $hosts <<'END'
127.0.0.1 localhost
127.0.6.10 main.origins.test
127.0.6.20 backup.origins.test
127.0.6.21 backup.origins.test
END
mount --bind $hosts /etc/hosts
rm $hosts
";

/// Set in the process that was started in namespaces of its own.
const INSIDE: &str = "ORIGINSWITCH_TEST_INSIDE";

/// The scenarios of [`inside`], played one after the other.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        async fn play_all() {
            $(
                println!("plays {}", stringify!($name));
                inside::$name().await;
            )*
            println!("played all of {}", [$(stringify!($name)),*].len());
        }
    };
}

scenarios!(
    both_families_move_in_one_batch,
    an_origin_that_lost_one_family_is_down,
    a_family_that_fails_everywhere_is_left_out,
    records_that_disagree_are_left_alone,
    names_make_the_record_a_cname,
    a_name_that_does_not_resolve_is_no_evidence,
);

/// Starts itself again in namespaces of its own, and plays the scenarios there.
#[test]
fn on_a_machine_of_their_own() {
    if std::env::var_os(INSIDE).is_some() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        return runtime.enable_all().build().unwrap().block_on(play_all());
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "sh", "-c", script]);
        command.env(INSIDE, "yes").output()
    };
    let can = unshare(PREPARE);
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        return crate::support::skip::skip(&format!("no namespaces can be made here: {can:?}"));
    }
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "{PREPARE}exec '{}' --exact families::on_a_machine_of_their_own --nocapture",
        own.display()
    );
    let output = unshare(&script).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert!(said.contains("played all of 6"), "{said}");
}

/// A site with an A and an AAAA record; MAIN and BACKUP have both families.
struct Dual {
    world: World,
    main_6: Origin,
    backup_6: Origin,
    /// The id of the AAAA record.
    aaaa: String,
}

impl Dual {
    async fn new() -> Dual {
        let mut world = World::new().await;
        world.rule = "confirm_for = \"1s\"\nfailback_after = \"1h\"".into();
        // One port for both families.
        let beside = |ip: &str, v4: &Origin| {
            let addr = SocketAddr::new(ip.parse().unwrap(), v4.addr().port());
            Origin::start(addr, None).unwrap()
        };
        add_record(&world, NAME, &world.main_ip());
        let aaaa = add_record(&world, NAME, MAIN_6);
        Dual {
            main_6: beside(MAIN_6, &world.main),
            backup_6: beside(BACKUP_6, &world.backup),
            aaaa,
            world,
        }
    }

    async fn serve(&self) -> Server {
        let main = table(&self.world.main, &format!("ipv6 = \"{MAIN_6}\""));
        let backup = table(&self.world.backup, &format!("ipv6 = \"{BACKUP_6}\""));
        serve(&self.world, &site(SITE, &[NAME], &[main, backup], "")).await
    }

    fn on_backup(&self) -> bool {
        contents(&self.world, NAME) == format!("{} {BACKUP_6}", self.world.backup_ip())
    }
}

mod inside {
    use super::*;

    pub async fn both_families_move_in_one_batch() {
        let dual = Dual::new().await;
        let server = dual.serve().await;
        set_up(&dual.world.main, false).await;
        set_up(&dual.main_6, false).await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        let address = format!("{}, {MAIN_6}", dual.world.main_ip());
        assert_eq!(
            decision["record"],
            json!({"role": "main", "address": address})
        );
        let address = format!("{}, {BACKUP_6}", dual.world.backup_ip());
        assert_eq!(
            decision["to"],
            json!({"role": "backup", "address": address})
        );
        assert_eq!(
            decision["origins"].as_array().unwrap().len(),
            2,
            "{decision}"
        );
        assert!(dual.on_backup(), "{decision}");
        let writes = dual.world.write_requests();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert!(writes[0].route().ends_with("/batch"));
        let body = writes[0].json().unwrap();
        assert_eq!(body["patches"].as_array().unwrap().len(), 2, "{body}");
    }

    pub async fn an_origin_that_lost_one_family_is_down() {
        let dual = Dual::new().await;
        let server = dual.serve().await;
        origin_is(&server, SITE, "backup", "up").await;
        set_up(&dual.main_6, false).await;
        let decision = decided(&server, SITE, "failover").await;
        assert_eq!(decision["origins"][0]["state"], "down", "{decision}");
        let reason = decision["origins"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("connection refused"), "{decision}");
        assert!(dual.on_backup());
    }

    pub async fn a_family_that_fails_everywhere_is_left_out() {
        let dual = Dual::new().await;
        let server = dual.serve().await;
        origin_is(&server, SITE, "backup", "up").await;
        set_up(&dual.main_6, false).await;
        set_up(&dual.backup_6, false).await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["reason"], "on_main", "{decision}");
        assert_eq!(dual.world.write_requests().len(), 0);

        set_up(&dual.world.main, false).await;
        let decision = decided(&server, SITE, "failover").await;
        assert_eq!(decision["to"]["role"], "backup", "{decision}");
        assert!(dual.on_backup(), "the records of both families move");
    }

    pub async fn records_that_disagree_are_left_alone() {
        let dual = Dual::new().await;
        dual.world.cloudflare.edit(&dual.aaaa, BACKUP_6);
        let server = dual.serve().await;
        held(&server, SITE, Some("record_shape")).await;
        set_up(&dual.world.main, false).await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["reason"], "record_shape", "{decision}");
        assert_eq!(dual.world.write_requests().len(), 0);
    }

    /// MAIN and BACKUP are names; the last is that of nobody.
    async fn named(names: [&str; 2], host: [&str; 2]) -> (World, String, [Origin; 2]) {
        let world = World::new().await;
        add_record(&world, NAME, names[0]);
        let start = |ip: &str| {
            let addr = SocketAddr::new(ip.parse().unwrap(), 0);
            Origin::start(addr, None).unwrap()
        };
        let origins = host.map(start);
        let [main, backup] = [0, 1].map(|nth| {
            let port = origins[nth].addr().port();
            format!("{{ hostname = \"{}\", port = {port} }}", names[nth])
        });
        let sites = site(SITE, &[NAME], &[main, backup], "");
        (world, sites, origins)
    }

    pub async fn names_make_the_record_a_cname() {
        let names = ["main.origins.test", "backup.origins.test"];
        // BACKUP has two addresses, and nobody listens on the other one.
        let (world, sites, origins) = named(names, ["127.0.6.10", "127.0.6.21"]).await;
        let server = serve(&world, &sites).await;
        origin_is(&server, SITE, "backup", "up").await;
        let seen = origins[0].last_request().unwrap();
        assert_eq!(
            seen.host.as_deref(),
            Some(NAME),
            "the name is for dialling only"
        );

        set_up(&origins[0], false).await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        let record = json!({"role": "main", "address": names[0]});
        assert_eq!(decision["record"], record, "{decision}");
        assert_eq!(decision["result"], "confirmed", "{decision}");
        assert_eq!(contents(&world, NAME), names[1]);
        let phases = server.metrics().await;
        let looked_up = phases.get("probe_duration_seconds_count", &[("phase", "resolve")]);
        assert!(looked_up.unwrap() > 0.0);
    }

    pub async fn a_name_that_does_not_resolve_is_no_evidence() {
        let names = ["nobody.origins.test", "backup.origins.test"];
        let (world, sites, _origins) = named(names, ["127.0.6.10", "127.0.6.20"]).await;
        let server = serve(&world, &sites).await;
        let decision = server.decision_on_alert(SITE, "firing").await;
        assert_eq!(decision["action"], "hold", "{decision}");
        assert_eq!(decision["reason"], "unconfirmed", "{decision}");
        let main = &decision["origins"][0];
        assert_eq!(main["state"], "unknown", "{decision}");
        assert!(
            main["reason"].as_str().unwrap().starts_with("resolve: "),
            "{decision}"
        );
        assert_eq!(world.write_requests().len(), 0);
    }
}
