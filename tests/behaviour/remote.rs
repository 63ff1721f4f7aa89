//! The program as a client of a running server: what it prints of sites and
//! decisions, and what it says when there is no answer.

use crate::common::*;
use crate::support::server::{Finished, binary, finish};
use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The program with these arguments, at this URL.
pub async fn ask_at(url: &str, arguments: &[&str]) -> Finished {
    let mut command = binary();
    command.args(arguments).args(["--url", url]);
    finish(command).await
}

/// The program as a client of this server.
pub async fn ask(server: &Server, arguments: &[&str]) -> Finished {
    ask_at(&format!("http://{}", server.addr), arguments).await
}

/// What it printed, if all went well.
#[track_caller]
pub fn done(ended: &Finished) -> &str {
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
    &ended.out
}

/// The one sentence of a command that ended with this code and printed nothing.
#[track_caller]
pub fn sentence(ended: &Finished, code: i32) -> &str {
    assert_eq!((ended.code, &*ended.out), (Some(code), ""), "{ended:?}");
    let sentence = ended.err.trim_end();
    assert!(
        !sentence.is_empty() && !sentence.contains('\n'),
        "{ended:?}"
    );
    sentence
}

/// The server after MAIN died: it returns an hour after MAIN has.
pub async fn fled_for_an_hour(world: &mut World) -> Server {
    world.rule = "confirm_for = \"1s\"\nfailback_after = \"1h\"\n".into();
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    server.decision_on_alert(SITE, "firing").await;
    server
}

/// `www`, `shop` and `blog` on the same origins, all of them on MAIN.
pub async fn three_sites(world: &mut World) -> Server {
    for name in ["shop", "blog"] {
        let hostname = format!("{name}.example.com");
        add_record(world, &hostname, &world.main_ip());
        world.more += &world.site_named(name, &hostname);
    }
    let server = world.serve_on_main().await;
    for site in ["www", "shop", "blog"] {
        server.wait_reason(site, "on_main").await;
        origin_is(&server, site, "backup", "up").await;
    }
    server
}

#[tokio::test]
async fn the_table_of_sites_begins_with_those_that_need_a_person() {
    let mut world = World::new().await;
    world.rule += "failback = \"manual\"\n";
    let server = three_sites(&mut world).await;
    let (main, backup) = (world.main_ip(), world.backup_ip());
    let calm = ask(&server, &["status"]).await;
    let pad = |text: &str| format!("{text:w$}", w = format!("main ({main})").len());
    assert_eq!(
        done(&calm),
        format!(
            "SITE  {}  ORIGINS             DECISION      LIFTED BY\n\
             blog  main ({main})  main up, backup up  keep on_main\n\
             shop  main ({main})  main up, backup up  keep on_main\n\
             www   main ({main})  main up, backup up  keep on_main\n",
            pad("RECORD")
        )
    );

    // www flees; when MAIN is back, a person has to send it home.
    world.kill_main().await;
    server.decision_on_alert("www", "firing").await;
    let fled = ask(&server, &["status", "www"]).await;
    let lines: Vec<&str> = done(&fled).lines().collect();
    assert!(lines[1].starts_with(&format!("www   backup ({backup})  main down, backup up  ")));
    assert!(lines[2].starts_with("  main ("), "{fled:?}");
    assert!(lines[2].contains("is down: connect: connection refused"));
    world.revive_main().await;
    held(&server, "www", Some("failback_manual")).await;
    let night = ask(&server, &["status"]).await;
    let rows: Vec<&str> = done(&night).lines().collect();
    assert!(rows[1].starts_with(&format!("www   backup ({backup})  main up, backup up")));
    assert!(
        rows[1].ends_with("  hold failback_manual  originswitch failback www"),
        "{night:?}"
    );
    assert!(rows[2].starts_with("  backup (") && rows[2].ends_with("lifts this"));
}

#[tokio::test]
async fn a_hold_that_ends_by_itself_says_when() {
    let mut world = World::new().await;
    let server = fled_for_an_hour(&mut world).await;
    server.decision_on_alert(SITE, "resolved").await;
    world.revive_main().await;
    held(&server, SITE, Some("failback_wait")).await;
    let status = ask(&server, &["status"]).await;
    assert_like(
        done(&status).lines().nth(2).unwrap(),
        r"  held until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ: backup .* MAIN has been up for \d+ m?s of 1 h; .*",
    );
    let site = server.site(SITE).await;
    assert_eq!(site["lift"], "failback www", "{site}");
    assert!(site["hold_until"].is_string(), "{site}");
}

#[tokio::test]
async fn scripts_get_what_the_api_answered() {
    let mut world = World::new().await;
    let server = three_sites(&mut world).await;
    let all = ask(&server, &["status", "--json"]).await.json();
    assert_eq!(all["all"], json!({"frozen": false, "freeze": null}));
    let names: Vec<&Value> = all["sites"].as_array().unwrap().iter().collect();
    let names: Vec<&str> = names.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["blog", "shop", "www"]);
    let one = ask(&server, &["status", "shop", "shop", "--json"])
        .await
        .json();
    assert_eq!(one["sites"].as_array().unwrap().len(), 1, "{one}");
    assert_eq!(one["sites"][0]["hostnames"], json!(["shop.example.com"]));

    let history = ask(&server, &["history", "www", "--json"]).await.json();
    let api = server.get("/api/v1/decisions?site=www").await.json();
    assert_eq!(history, api);
    let id = history["decisions"][0]["id"].to_string();
    let one = ask(&server, &["history", "--id", &id, "--json"]).await;
    assert_eq!(one.json(), history["decisions"][0]);
}

#[tokio::test]
async fn an_unknown_site_is_a_two_and_nothing_is_done() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    for arguments in [
        &["status", "www", "nowhere"][..],
        &["history", "nowhere"],
        &["pin", "nowhere", "backup"],
        &["unpin", "nowhere"],
        &["freeze", "www", "nowhere"],
        &["unfreeze", "nowhere"],
        &["trust", "nowhere"],
        &["release", "www", "nowhere"],
        &["failback", "nowhere", "www", "--json"],
    ] {
        let ended = ask(&server, arguments).await;
        let said = sentence(&ended, 2);
        assert!(said.contains("there is no site \"nowhere\""), "{said}");
    }
    assert_eq!(server.site(SITE).await["frozen"], false);
    let ended = ask(&server, &["history", "--id", "4711"]).await;
    assert!(
        sentence(&ended, 2).contains("no decision 4711"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn the_history_is_told_newest_first_with_its_evidence() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    origin_is(&server, SITE, "backup", "up").await;
    world.kill_main().await;
    let failover = server.decision_on_alert(SITE, "firing").await;
    let (main, backup) = (world.main_ip(), world.backup_ip());
    decided(&server, SITE, "main_down").await;

    let ended = ask(&server, &["history"]).await;
    let lines: Vec<&str> = done(&ended).lines().collect();
    let (id, time) = (&failover["id"], explained_second(&failover));
    let row = lines
        .iter()
        .position(|line| line.starts_with(&format!("{id} ")))
        .unwrap();
    assert_like(
        lines[row],
        &format!(
            r"{id} +{time}  www   alert    main +switch failover to backup  confirmed  \d\.\d\d s"
        ),
    );
    assert_eq!(lines[row + 1], format!("  {}", explanation(&failover)));
    assert!(row > 1, "main_down came after it: {ended:?}");
    let one = ask(&server, &["history", "www", "--limit", "1"]).await;
    assert_eq!(done(&one).lines().count(), 3, "{one:?}");
    let none = ask(&server, &["history", "--limit", "0"]).await;
    assert!(sentence(&none, 2).contains("limit=0"), "{none:?}");

    let whole = ask(&server, &["history", "--id", &id.to_string()]).await;
    let text = done(&whole);
    for part in [
        "steps     1 2 6 7 8\n".to_owned(),
        "result    confirmed\n".to_owned(),
        format!("\n\nmain ({main}) down: connect: connection refused\n  STARTED"),
        format!("\n\nbackup ({backup}) up: 200 in "),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let down = text.lines().filter(|line| line.contains("Z  down "));
    assert_eq!(
        down.count() as u64,
        failover["origins"][0]["probes"].as_u64().unwrap()
    );
}

/// The time of a decision, to the second.
fn explained_second(decision: &Value) -> String {
    let time = decision["time"].as_str().unwrap();
    format!("{}Z", time.split('.').next().unwrap())
}

#[tokio::test]
async fn a_server_with_a_token_is_asked_with_it_and_no_error_shows_one() {
    let mut world = World::new().await;
    world.more = "[server]\nadmin_token_file = \"admin\"\n".into();
    std::fs::write(world.folder.path("admin"), "s3cret-admin\n").unwrap();
    std::fs::write(world.folder.path("other"), "an0ther-secret").unwrap();
    world.configure();
    let server = world.folder.serve().await;
    let path = |name: &str| world.folder.path(name).display().to_string();
    let with = async |file: &str| ask(&server, &["status", "--token-file", &path(file)]).await;

    let ended = ask(&server, &["status"]).await;
    assert!(
        sentence(&ended, 1).contains("with --token-file"),
        "{ended:?}"
    );
    let ended = with("other").await;
    let said = sentence(&ended, 1);
    assert!(said.contains(&path("other")) && said.contains("server.admin_token_file"));
    assert!(!said.contains("an0ther"), "{said}");
    let ended = with("missing").await;
    assert!(sentence(&ended, 2).starts_with("--token-file"), "{ended:?}");
    assert!(done(&with("admin").await).starts_with("SITE"));

    // The same from the environment, which is no configuration.
    let mut command = binary();
    command
        .args(["history", "--json"])
        .env("ORIGINSWITCH_URL", format!("http://{}/", server.addr))
        .env("ORIGINSWITCH_TOKEN_FILE", path("admin"));
    assert!(finish(command).await.json()["decisions"].is_array());
    let mut command = world.folder.command(&["check-config"]);
    command
        .env("ORIGINSWITCH_URL", "http://127.0.0.1:1")
        .env("ORIGINSWITCH_TOKEN_FILE", "/nowhere");
    assert_eq!(finish(command).await.code, Some(0));
}

#[tokio::test]
async fn a_url_that_cannot_be_right_is_a_two() {
    for (url, words) in [
        ("127.0.0.1:10053", "is no URL"),
        ("ftp://127.0.0.1", "is no http or https URL"),
        ("http://127.0.0.1/?a=b", "holds a `?`"),
        ("http://me:s3cret@127.0.0.1", "holds a user or a password"),
        ("http://me:s3cret@127.0.0.1:port", "is no URL"),
    ] {
        let ended = ask_at(url, &["status"]).await;
        let said = sentence(&ended, 2);
        assert!(said.starts_with("--url") && said.contains(words), "{said}");
        assert!(said.contains("http://127.0.0.1:10053"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_apart_from_one_that_is_another() {
    // Nobody listens where somebody did.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for arguments in [&["status"][..], &["freeze"]] {
        let ended = ask_at(&url, arguments).await;
        let said = sentence(&ended, 1);
        assert!(
            said.starts_with(&format!("{url} cannot be reached (")),
            "{said}"
        );
        assert!(said.contains("refused") && said.contains("--url"), "{said}");
    }

    let denied = json!({"error": "without server.admin_token_file this call is …"});
    for (path, words) in [
        ("/html", "answers, but not as originswitch does"),
        ("/elsewhere", "answers with a redirect (303 See Other)"),
        (
            "/broken",
            "answers 502 Bad Gateway, and not as originswitch does",
        ),
        (
            "/none",
            "answers 404 Not Found, and not as originswitch does",
        ),
        ("/denied", "only programs on its own machine may call it"),
    ] {
        let page = |path: &str| format!("{path}/api/v1/freeze");
        let denied = denied.to_string();
        let router = Router::new()
            .route(&page("/html"), get(async || "<html>"))
            .route(&page("/elsewhere"), get(async || Redirect::to("/html")))
            .route(&page("/broken"), get(async || StatusCode::BAD_GATEWAY))
            .route(
                &page("/denied"),
                get(async || (StatusCode::FORBIDDEN, denied)),
            );
        let url = format!("{}{path}", serve_router(router).await);
        let ended = ask_at(&url, &["status"]).await;
        let said = sentence(&ended, 1);
        assert!(said.starts_with(&url) && said.contains(words), "{said}");
        assert!(
            said.contains("--url") || said.contains("--token-file"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_order_that_is_not_answered_may_have_been_done() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            // Taken, and dropped at once.
            drop(listener.accept().await.unwrap());
        }
    });
    let ended = ask_at(&url, &["freeze"]).await;
    let said = sentence(&ended, 1);
    assert!(
        said.contains("may have been done: look with `originswitch status`"),
        "{said}"
    );
    let ended = ask_at(&url, &["status"]).await;
    assert!(sentence(&ended, 1).contains("ask again"), "{ended:?}");
}

/// Serves these routes on loopback; gives the URL.
async fn serve_router(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn loopback_is_never_asked_through_a_proxy() {
    let world = World::new().await;
    let server = world.serve_on_main().await;
    let mut command = binary();
    command.args(["status", "--url", &format!("http://{}", server.addr)]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    assert!(done(&finish(command).await).starts_with("SITE"));
}

#[tokio::test]
async fn every_page_of_the_list_is_read_and_the_token_sent_with_each() {
    let names: Vec<String> = (0..2345).map(|n| format!("site-{n:04}")).collect();
    let pages = async |query: Query<HashMap<String, String>>, headers: HeaderMap| {
        assert_eq!(headers["authorization"], "Bearer s3cret-admin");
        let limit: usize = query["limit"].parse().unwrap();
        let after = query.get("after").cloned().unwrap_or_default();
        let rest = (0..2345).map(|n| format!("site-{n:04}"));
        let rest = rest.filter(|name| **name > *after).take(limit);
        let record = json!({"role": "main", "address": "192.0.2.10"});
        let site = |name| json!({"name": name, "record": record, "origins": []});
        axum::Json(json!({"sites": rest.map(site).collect::<Vec<_>>()}))
    };
    let none = async || axum::Json(json!({"frozen": false, "freeze": null}));
    let router = Router::new()
        .route("/api/v1/sites", get(pages))
        .route("/api/v1/freeze", get(none));
    let url = serve_router(router).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin");
    std::fs::write(&file, "s3cret-admin").unwrap();
    let file = file.display().to_string();
    let ended = ask_at(&url, &["status", "--token-file", &file]).await;
    let rows: Vec<&str> = done(&ended).lines().skip(1).collect();
    assert_eq!(rows.len(), names.len());
    for (row, name) in rows.iter().zip(&names) {
        assert!(row.starts_with(&**name), "{row}");
    }
}

#[tokio::test]
async fn the_health_of_a_server_is_an_exit_code() {
    let mut world = World::new().await;
    world.more = "[server]\nadmin_token_file = \"token\"\n".into();
    world.configure();
    let server = world.folder.serve().await;
    // It needs no token.
    let healthy = ask(&server, &["health"]).await;
    assert_eq!(done(&healthy), "originswitch is healthy.\n");
    let is = async || server.ready().await;
    server.wait_until("it is ready", is).await;
    let ready = ask(&server, &["health", "--ready"]).await;
    assert_eq!(done(&ready), "originswitch is ready.\n");

    let nobody = ask_at("http://127.0.0.9:9", &["health"]).await;
    assert!(sentence(&nobody, 1).contains("cannot be reached"));
    let elsewhere = ask_at(&format!("http://{}/elsewhere", server.addr), &["health"]).await;
    assert!(sentence(&elsewhere, 1).contains("nothing at /elsewhere"));
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_why() {
    let app = Router::new().route(
        "/-/ready",
        get(|| async {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "originswitch is shutting down.\n",
            )
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let ended = ask_at(&url, &["health", "--ready"]).await;
    assert_eq!(sentence(&ended, 1), "originswitch is shutting down.");
}
