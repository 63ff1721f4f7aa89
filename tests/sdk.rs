//! Cloudflare's own clients take the simulated Cloudflare for the real one.
//!
//! `tests/sdk/install FOLDER` fetches them and prints the variables to set;
//! `tests/run` does that.

mod support;

use std::path::Path;
use std::time::Duration;

use originswitch::sandbox::Cloudflare;
use originswitch::sandbox::cloudflare::{Options, Permission, RecordSpec, TokenSpec};
use originswitch::sandbox::faults::{Effect, Fault, Matcher, Operation};
use support::skip::skip;
use tokio::process::Command;

async fn run(program: &Path, script: &str) {
    let cloudflare = Cloudflare::start("127.0.0.1:0".parse().unwrap(), Options::default()).unwrap();
    let zone = cloudflare.add_zone("example.com");
    for n in 1..12 {
        cloudflare.add_zone(&format!("example-{n}.net"));
    }
    let www = RecordSpec::new("A", "www.example.com", "192.0.2.10");
    let id = cloudflare.add_record(&zone, www.ttl(60).comment("kept"));
    cloudflare.add_token(TokenSpec::new("editor", Permission::Edit));
    cloudflare.add_token(TokenSpec::new("reader", Permission::Read));
    // The scripts list records once before they ask to be throttled twice:
    // once to see the error, once to see the client's own retry.
    let throttle = Effect::Throttle {
        retry_after: Some(1),
    };
    let lists = Matcher::Operation(Operation::ListRecords);
    cloudflare.fault(Fault::times(2, lists, throttle).after(LISTS_BEFORE));

    let output = Command::new(program)
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/sdk")
                .join(script),
        )
        .args([&cloudflare.url(), "editor", "reader", "example.com"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await;
    let output = output.expect("within a minute").expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.trim(), "done", "{errors}");
    // What Cloudflare's own clients send is what the check must let pass.
    if let Some(faults) = support::openapi::check(&cloudflare.requests()) {
        assert_eq!(faults, Vec::<String>::new());
    }
    assert_eq!(cloudflare.record(&id).unwrap().content, "192.0.2.10");
    assert_eq!(cloudflare.records("www.example.com").len(), 1);
}

/// Pages of records a script has asked for before the throttled ones: one with
/// the record, and one past the end where the client looks for more.
const LISTS_BEFORE: u32 = 2;

#[tokio::test]
async fn the_python_client_works() {
    match std::env::var_os("ORIGINSWITCH_SDK_PYTHON") {
        Some(python) => run(Path::new(&python), "client.py").await,
        None => skip("Cloudflare's Python client: ORIGINSWITCH_SDK_PYTHON is not set"),
    }
}

#[tokio::test]
async fn the_node_client_works() {
    match std::env::var_os("ORIGINSWITCH_SDK_NODE_DIR") {
        Some(_) => run(Path::new("node"), "client.mjs").await,
        None => skip("Cloudflare's Node client: ORIGINSWITCH_SDK_NODE_DIR is not set"),
    }
}
