//! Very many sites, on a simulated Cloudflare and two origins.

use crate::support::server::{Server, TOKEN};
use originswitch::sandbox::cloudflare::{Logged, Options, Permission, Plan, RecordSpec, TokenSpec};
use originswitch::sandbox::{Behaviour, Cloudflare, Origin};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Sites of which all MAINs are one server, and all BACKUPs another.
pub struct Stage {
    pub cloudflare: Cloudflare,
    pub main: Origin,
    _backup: Origin,
    pub zones: Vec<String>,
    sites: usize,
    config: String,
}

/// Calls that were made.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub reads: usize,
    pub writes: usize,
    pub throttled: usize,
}

impl Tally {
    /// The worse of two, number by number.
    pub fn most(&self, other: &Tally) -> Tally {
        Tally {
            reads: self.reads.max(other.reads),
            writes: self.writes.max(other.writes),
            throttled: self.throttled.max(other.throttled),
        }
    }

    pub fn of(calls: &[Logged]) -> Tally {
        let count = |so: &dyn Fn(&Logged) -> bool| calls.iter().filter(|call| so(call)).count();
        Tally {
            reads: count(&|call| !call.is_write()),
            writes: count(&Logged::is_write),
            throttled: count(&|call| call.status == Some(429)),
        }
    }
}

/// A hostname of site number `site`.
pub fn hostname(site: usize, zones: usize) -> String {
    format!("s{site}.z{}.example", site % zones)
}

impl Stage {
    /// `sites` sites, dealt out to `zones` zones; Cloudflare takes `latency`
    /// for a call and has its real limits, but for the records of a zone.
    pub fn new(sites: usize, zones: usize, latency: Duration) -> Stage {
        let any = |ip: &str| -> SocketAddr { format!("{ip}:0").parse().unwrap() };
        let options = Options {
            refuse_private_targets: false,
            plan: Plan::Free,
            record_quota: Some(100_000),
            latency,
            log_limit: 100_000,
            ..Options::default()
        };
        let cloudflare = Cloudflare::start(any("127.0.0.1"), options).unwrap();
        cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let ids: Vec<String> = (0..zones)
            .map(|zone| cloudflare.add_zone(&format!("z{zone}.example")))
            .collect();
        let main = Origin::start(any("127.0.1.1"), None).unwrap();
        // At one port, as the origins of a site mostly are.
        let port = main.addr().port();
        let backup = Origin::start(([127, 0, 1, 2], port).into(), None).unwrap();
        let mut config = format!(
            "[cloudflare]\napi_token = \"{TOKEN}\"\napi_url = \"{}\"\n[probe]\nkind = \"http\"\nport = {port}\n",
            cloudflare.url()
        );
        for site in 0..sites {
            let hostname = hostname(site, zones);
            let zone = &ids[site % zones];
            cloudflare.add_record(zone, RecordSpec::new("A", &hostname, "127.0.1.1").proxied());
            config.push_str(&format!(
                "[[site]]\nname = \"s{site}\"\nhostname = \"{hostname}\"\nzone_id = \"{zone}\"\n\
                 main = \"127.0.1.1\"\nbackup = \"127.0.1.2\"\n"
            ));
        }
        Stage {
            cloudflare,
            main,
            _backup: backup,
            zones: ids,
            sites,
            config,
        }
    }

    /// The server as it starts.
    pub async fn serve(&self) -> Server {
        Server::start(&self.config).await
    }

    /// The server, with every site known to be well on MAIN and at rest.
    pub async fn serve_on_main(&self) -> Server {
        let server = self.serve().await;
        self.all_on_main(&server).await;
        sleep(Duration::from_secs(2)).await;
        server
    }

    /// Waits until every site was found well on MAIN.
    pub async fn all_on_main(&self, server: &Server) {
        loop {
            // A sum of all sites' counters would cost more than it tells.
            let reply = server.get("/api/v1/sites?limit=10000").await;
            let on_main = reply.text.matches("\"reason\":\"on_main\"").count();
            if on_main == self.sites {
                return;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// An alert for each site.
    pub fn alerts(&self) -> Value {
        let alerts: Vec<Value> = (0..self.sites)
            .map(|site| {
                json!({
                    "status": "firing",
                    "labels": { "alertname": "OriginDown", "site": format!("s{site}"), "severity": "critical" },
                    "annotations": { "summary": "MAIN does not answer" },
                    "startsAt": "2026-11-27T00:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://prometheus.example:9090/graph"
                })
            })
            .collect();
        json!({ "version": "4", "status": "firing", "alerts": alerts })
    }

    /// MAIN refuses, and one webhook says it of every site: the seconds from
    /// that until the last record holds BACKUP. Calls are counted from there.
    pub async fn struck(&self) -> f64 {
        let server = self.serve_on_main().await;
        self.cloudflare.clear_requests();
        self.main.set(Behaviour::Refusing).await.unwrap();
        let begin = Instant::now();
        let answer = server.post("/webhook", self.alerts()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let last = self.all_on_backup().await;
        last.duration_since(begin).as_secs_f64()
    }

    /// Waits until every record holds BACKUP; when the last one was seen to.
    pub async fn all_on_backup(&self) -> Instant {
        let zones = self.zones.len();
        let mut left: Vec<usize> = (0..self.sites).collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|&site| {
                let records = self.cloudflare.records(&hostname(site, zones));
                records[0].content != "127.0.1.2"
            });
            if left.len() == before {
                sleep(Duration::from_millis(10)).await;
            }
        }
        Instant::now()
    }

    /// The calls since the log was emptied.
    pub fn tally(&self) -> Tally {
        Tally::of(&self.cloudflare.requests())
    }

    /// The calls in the fullest stretch of this length.
    pub fn fullest_window(&self, length: Duration) -> usize {
        let length = jiff::SignedDuration::try_from(length).unwrap();
        let times: Vec<_> = self.cloudflare.requests().iter().map(|c| c.time).collect();
        let mut first = 0;
        let mut most = 0;
        for (last, time) in times.iter().enumerate() {
            while time.duration_since(times[first]) >= length {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}
