//! The adapter to Cloudflare against the simulated one: calls that travel
//! together, reads that are shared, budgets that are not overrun.

mod budget;
mod crowd;
mod reads;
mod writes;

use futures_util::future::join_all;
use originswitch::cloudflare::Cloudflare;
use originswitch::config::{self, Config, Site};
use originswitch::failover::{Change, Dns, Record, Unavailable, Urgency, Written};
use originswitch::metrics::Metrics;
use originswitch::sandbox::cloudflare::{
    self as sandbox, Logged, Options, Permission, Plan, RecordSpec, TokenSpec,
};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

const TOKEN: &str = "a-good-token";
const MAIN: &str = "192.0.2.10";
const BACKUP: &str = "198.51.100.20";

fn options() -> Options {
    Options {
        plan: Plan::Pro,
        ..Options::default()
    }
}

/// A simulated Cloudflare with zones full of sites, and the adapter on it.
struct Rig {
    folder: TempDir,
    cloud: sandbox::Cloudflare,
    config: Config,
    dns: Cloudflare,
    metrics: Arc<Metrics>,
}

impl Rig {
    /// So many sites in each of these zones.
    fn new(options: Options, keys: &str, zones: &[(&str, usize)]) -> Rig {
        Rig::with(options, keys, zones, &[])
    }

    /// The same, with further files beside the configuration.
    fn with(options: Options, keys: &str, zones: &[(&str, usize)], files: &[(&str, &str)]) -> Rig {
        let cloud = sandbox::Cloudflare::start("127.0.0.1:0".parse().unwrap(), options).unwrap();
        cloud.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let folder = TempDir::new().unwrap();
        for (name, text) in files.iter().chain(&[("token", TOKEN)]) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut text = format!(
            "[cloudflare]\napi_token_file = \"token\"\napi_url = \"{}\"\n{keys}\n",
            cloud.url()
        );
        for (zone, sites) in zones {
            let id = cloud.add_zone(zone);
            for number in 0..*sites {
                let name = format!("s{number:03}.{zone}");
                cloud.add_record(&id, RecordSpec::new("A", &name, MAIN).proxied());
                text += &format!(
                    "[[site]]\nname = \"{name}\"\nhostname = \"{name}\"\nzone = \"{zone}\"\n\
                     main = \"{MAIN}\"\nbackup = \"{BACKUP}\"\n"
                );
            }
        }
        std::fs::write(folder.path().join("originswitch.toml"), text).unwrap();
        let config = load(&folder);
        let metrics = Metrics::new();
        let dns = Cloudflare::new(&config.cloudflare, metrics.clone()).unwrap();
        dns.set_sites(&config.sites);
        Rig {
            folder,
            cloud,
            config,
            dns,
            metrics,
        }
    }

    fn site(&self, number: usize) -> &Arc<Site> {
        &self.config.sites[number]
    }

    async fn read(&self, site: &Site, urgency: Urgency) -> Result<Vec<Record>, Unavailable> {
        let until = Instant::now() + Duration::from_secs(10);
        let read = self.dns.read(&site.zone, &site.hostnames, urgency, until);
        read.await
    }

    async fn write(&self, site: &Site, record: Record, content: &str, urgency: Urgency) -> Written {
        let content = content.to_owned();
        let until = Instant::now() + Duration::from_secs(10);
        let changes = [Change { record, content }];
        let write = self.dns.write(&site.zone, &changes, urgency, until);
        write.await
    }

    /// What a site does that is due: it reads, and writes `content`.
    async fn switch(&self, site: &Site, content: &str, urgency: Urgency) -> Written {
        let record = self.read(site, urgency).await.unwrap().remove(0);
        self.write(site, record, content, urgency).await
    }

    /// Every site at once; what becomes of each.
    async fn switch_all(&self, content: impl Fn(usize) -> &'static str) -> Vec<Written> {
        let sites = self.config.sites.iter().enumerate();
        let switches = sites.map(|(n, site)| self.switch(site, content(n), Urgency::Flight));
        join_all(switches).await
    }

    fn content(&self, number: usize) -> String {
        let records = self.cloud.records(&self.site(number).hostnames[0]);
        records[0].content.clone()
    }

    fn calls(&self, wanted: impl Fn(&Logged) -> bool) -> usize {
        self.cloud.requests().iter().filter(|r| wanted(r)).count()
    }

    fn lists(&self) -> usize {
        self.calls(|r| r.route().ends_with("/dns_records") && !r.is_write())
    }

    fn write_calls(&self) -> usize {
        self.calls(Logged::is_write)
    }

    fn assert_never_throttled(&self) {
        assert_eq!(self.calls(|r| r.status == Some(429)), 0);
    }

    /// The sample of this name, labels and all.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.text()).unwrap();
        let name = format!("originswitch_cloudflare_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map(|value| value.parse().unwrap())
    }
}

fn load(folder: &TempDir) -> Config {
    let path = folder.path().join("originswitch.toml");
    config::load(&path, std::iter::empty()).unwrap_or_else(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        panic!("{faults:#?}")
    })
}
