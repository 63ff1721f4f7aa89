//! The command line: exit codes, and what goes to which stream.

use crate::support::server::{Finished, Folder, TOKEN, World, binary, finish};

async fn run(arguments: &[&str]) -> Finished {
    let mut command = binary();
    command.args(arguments);
    finish(command).await
}

#[tokio::test]
async fn it_tells_its_version_and_its_commands() {
    let version = run(&["--version"]).await;
    assert_eq!(version.code, Some(0));
    let expected = concat!("originswitch ", env!("CARGO_PKG_VERSION"));
    assert!(version.out.starts_with(expected), "{version:?}");
    let help = run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "once", "check-config", "demo", "status", "freeze"] {
        assert!(help.out.contains(command), "{}", help.out);
        let help = run(&[command, "--help"]).await;
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn wrong_usage_is_a_two() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["serve", "--nonsense"],
        &["once", "--log-format", "xml"],
        &["serve", "--listen", "everywhere"],
        &["pin"],
        &["unpin"],
        &["history", "--id", "1", "--limit", "3"],
    ] {
        let ended = run(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "", "{arguments:?}");
        assert!(!ended.err.is_empty());
    }
}

#[tokio::test]
async fn a_good_configuration_is_called_good() {
    let world = World::new().await;
    world.configure();
    let ended = world.folder.run(&["check-config"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("good"), "{ended:?}");
    assert!(world.cloudflare.requests().is_empty(), "nobody is asked");
    assert!(!world.folder.state().exists());

    // The environment may name the file, and override keys in it.
    let mut command = binary();
    command
        .arg("check-config")
        .env("ORIGINSWITCH_CONFIG", world.folder.config());
    assert_eq!(finish(command).await.code, Some(0));
    let mut command = world.folder.command(&["check-config"]);
    command.env("ORIGINSWITCH_PROBE__INTERVAL", "soon");
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        faults(&ended, "check-config").contains("ORIGINSWITCH_PROBE__INTERVAL"),
        "{ended:?}"
    );
}

/// The faults a command tells, and nothing else. Scripts may look for those of
/// `check-config` on either stream; the others keep standard output clean.
fn faults(ended: &Finished, command: &str) -> String {
    if command != "check-config" {
        assert_eq!(ended.out, "", "{command}");
    }
    format!("{}{}", ended.out, ended.err)
}

const BAD: &str = r#"
[cloudflare]
api_token = "a-secret-token-that-nobody-may-print with a space"
[probe]
intervall = "10s"
timeout = "fast"
expect_body = "(unclosed"
[rule]
fall = 0
[[site]]
name = "www"
hostname = "www.example.com"
zone = "example.net"
main = "192.0.2.10"
backup = "192.0.2.10"
[[site]]
name = "www"
hostname = "www.example.com"
zone = "example.com"
main = "104.16.0.1"
backup = "not-an-address!"
"#;

#[tokio::test]
async fn every_fault_of_a_bad_configuration_is_told_at_once() {
    let folder = Folder::new(BAD);
    for arguments in [&["check-config"][..], &["serve"], &["once"]] {
        let ended = folder.run(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        let said = faults(&ended, arguments[0]);
        for words in [
            "api_token",
            "intervall",
            "probe.interval",
            "probe.timeout",
            "expect_body",
            "fall",
            "is the name of site[1]",
            "example.net",
            "192.0.2.10",
            "104.16.0.1",
            "not-an-address!",
            "originswitch.toml",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains(TOKEN), "{said}");
        assert!(!folder.state().exists());
    }
}

#[tokio::test]
async fn a_missing_or_unreadable_file_is_a_two() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.config()).unwrap();
    for command in ["serve", "once", "check-config"] {
        let ended = folder.run(&[command]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = faults(&ended, command);
        assert!(said.contains("originswitch.toml"), "{said}");
    }
    folder.configure("this is = = no TOML\n");
    let ended = folder.run(&["check-config"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let said = faults(&ended, "check-config");
    assert!(said.contains("originswitch.toml"), "{said}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_failure_of_the_server() {
    let mut world = World::new().await;
    // Enough that the first are watched before the last have begun.
    for n in 0..300 {
        let hostname = format!("w{n}.example.com");
        world.more += &world.site_named(&format!("w{n}"), &hostname);
    }
    world.configure();
    let taken = world.cloudflare.addr().to_string();
    let ended = world.folder.run(&["serve", "--listen", &taken]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains(&taken), "{ended:?}");
    // Who cannot be called watches nothing: nobody was asked for anything.
    assert!(world.cloudflare.requests().is_empty(), "{ended:?}");
    let hits = world.main.hits() + world.backup.hits();
    assert_eq!(hits, 0, "{ended:?}");
}
