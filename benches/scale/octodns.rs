//! The same change of a thousand records by octodns-cloudflare, against the
//! same simulated Cloudflare.

use crate::common::row;
use crate::stage::{Stage, Tally, hostname};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

const SITES: usize = 1_000;

/// A call takes this long.
const LATENCY: Duration = Duration::from_millis(100);

/// A virtual environment with octodns-cloudflare of PyPI, made once.
async fn environment() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/octodns");
    let sync = folder.join("bin/octodns-sync");
    if !sync.exists() {
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&folder)
            .status()
            .await;
        made.ok().filter(std::process::ExitStatus::success)?;
        let installed = Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "octodns==1.15.0",
                "octodns-cloudflare==1.1.0",
            ])
            .status()
            .await;
        installed.ok().filter(std::process::ExitStatus::success)?;
    }
    sync.exists().then_some(sync)
}

/// Its configuration: the zone as it is to be, with every record on BACKUP.
fn configure(folder: &Path) {
    let mut zone = String::from("---\n");
    for site in 0..SITES {
        let hostname = hostname(site, 1);
        let name = hostname.strip_suffix(".z0.example").unwrap_or(&hostname);
        zone.push_str(&format!(
            "{name}:\n  octodns:\n    cloudflare:\n      proxied: true\n  ttl: 300\n  type: A\n  value: 127.0.1.2\n"
        ));
    }
    std::fs::create_dir_all(folder.join("zones")).unwrap();
    std::fs::write(folder.join("zones/z0.example.yaml"), zone).unwrap();
    let config = "---\n\
        providers:\n  \
          config:\n    class: octodns.provider.yaml.YamlProvider\n    directory: ./zones\n    enforce_order: false\n  \
          cloudflare:\n    class: octodns_cloudflare.CloudflareProvider\n    token: env/CLOUDFLARE_TOKEN\n    retry_count: 0\n    pagerules: false\n\
        zones:\n  z0.example.:\n    sources: [config]\n    targets: [cloudflare]\n";
    std::fs::write(folder.join("octodns.yaml"), config).unwrap();
}

/// What octodns takes: seconds and calls.
async fn theirs(sync: &Path) -> (f64, Tally) {
    let stage = Stage::new(SITES, 1, LATENCY);
    // It knows no budget; that it would be throttled is left out of the time.
    stage
        .cloudflare
        .configure(|options| options.limits.per_token = u32::MAX);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path());
    let url = stage.cloudflare.url();
    // The provider as it is, but at another address.
    let rewrite = format!(
        "import sys, requests\n\
         real = requests.Session.request\n\
         def there(self, method, url, *args, **kwargs):\n    \
             return real(self, method, url.replace('https://api.cloudflare.com/client/v4', '{url}'), *args, **kwargs)\n\
         requests.Session.request = there\n\
         from octodns.cmds.sync import main\n\
         sys.argv = ['octodns-sync', '--config-file', 'octodns.yaml', '--doit', '--force']\n\
         main()\n"
    );
    std::fs::write(folder.path().join("run.py"), rewrite).unwrap();
    let python = sync.with_file_name("python");
    let begin = Instant::now();
    let output = Command::new(python)
        .arg("run.py")
        .current_dir(folder.path())
        .env("CLOUDFLARE_TOKEN", crate::support::server::TOKEN)
        .output()
        .await
        .unwrap();
    let taken = begin.elapsed().as_secs_f64();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stage.all_on_backup().await;
    (taken, stage.tally())
}

/// What we take, from the webhook on.
async fn ours() -> (f64, Tally) {
    let stage = Stage::new(SITES, 1, LATENCY);
    (stage.struck().await, stage.tally())
}

/// Prints the row.
pub async fn compare() {
    let Some(sync) = environment().await else {
        eprintln!("octodns-cloudflare is not to be had here: that row is left out");
        return;
    };
    let (their_time, their_calls) = theirs(&sync).await;
    let (our_time, our_calls) = ours().await;
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    let calls = |tally: &Tally| (tally.reads + tally.writes) as f64;
    row(
        "1,000 records of one zone changed, against octodns-cloudflare",
        "calls ≤ 1/50, time ≤ 1/10",
        &format!(
            "{} calls and {our_time:.1} s (2 s of it the confirmation) against {} calls and {their_time:.0} s: 1/{:.0} and 1/{:.0}",
            calls(&our_calls),
            calls(&their_calls),
            calls(&their_calls) / calls(&our_calls),
            their_time / our_time
        ),
    );
}
