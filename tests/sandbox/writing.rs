//! PATCH, PUT, POST, DELETE, batches, and what is refused.

use super::*;

#[tokio::test]
async fn patch_keeps_what_it_does_not_name_and_put_resets_it() {
    let world = World::with(Options {
        plan: Plan::Pro,
        ..Options::default()
    });
    let spec = RecordSpec::new("A", "app.example.com", MAIN)
        .proxied()
        .comment("mine");
    let id = world
        .cloudflare
        .add_record(&world.zone, spec.tags(&["a:b"]));
    let before = world.cloudflare.record(&id).unwrap();
    let path = format!("{}/{id}", world.records());
    let send = async |method, body| world.try_send(method, &path, Some(body)).await.unwrap();

    let patched = send(Method::PATCH, json!({"content": BACKUP})).await;
    assert_eq!(patched.json["result"]["content"], BACKUP);
    let after = world.cloudflare.record(&id).unwrap();
    assert_eq!(
        (after.proxied, &after.comment, &after.tags),
        (true, &before.comment, &before.tags)
    );
    assert_eq!(after.comment_modified_on, before.comment_modified_on);
    assert!(after.modified_on > before.modified_on);

    let body = json!({"type": "A", "name": "app.example.com", "content": MAIN});
    assert_eq!(send(Method::PUT, body).await.status, 200);
    let put = world.cloudflare.record(&id).unwrap();
    assert_eq!(
        (put.proxied, put.ttl, put.comment, put.tags),
        (false, 1, None, vec![])
    );
    assert_eq!(put.created_on, before.created_on);
    assert_eq!(
        send(Method::PUT, json!({"content": MAIN})).await.status,
        400
    );
}

#[tokio::test]
async fn an_identical_patch_moves_modified_on_only_if_told_so() {
    let world = World::new();
    let modified = || world.cloudflare.record(&world.record).unwrap().modified_on;
    let first = modified();
    world.patch(json!({"content": MAIN})).await;
    let second = modified();
    assert!(second > first);
    world
        .cloudflare
        .configure(|o| o.identical_patch_bumps_modified = false);
    world.patch(json!({"content": MAIN})).await;
    assert_eq!(modified(), second);
}

#[tokio::test]
async fn records_that_cannot_live_together_are_refused() {
    let world = World::new();
    world.cloudflare.add_record(
        &world.zone,
        RecordSpec::new("CNAME", "c.example.com", "t.test"),
    );
    let create = async |kind: &str, name: &str, content: &str| {
        let body = json!({"type": kind, "name": name, "content": content, "ttl": 300});
        let reply = world.post(body).await;
        (reply.status, reply.codes())
    };
    assert_eq!(create("CNAME", "www", "t.test").await, (400, vec![81053]));
    assert_eq!(create("A", "c.example.com", MAIN).await, (400, vec![81054]));
    assert_eq!(
        create("A", "www.example.com", MAIN).await,
        (400, vec![81057])
    );
    assert_eq!(create("A", "new.example.com", MAIN).await, (200, vec![]));
    assert_eq!(
        create("A", "new.example.com", MAIN).await,
        (400, vec![81058])
    );
    assert_eq!(
        create("A", "www.example.com", BACKUP).await,
        (200, vec![]),
        "round robin"
    );
}

#[tokio::test]
async fn bad_fields_are_refused_with_the_codes_cloudflare_uses() {
    let world = World::new();
    let long = "x".repeat(101);
    for (body, codes) in [
        (json!({"content": "not an address"}), vec![9005]),
        (json!({"content": "2001:db8::1"}), vec![9005]),
        (json!({"ttl": 59}), vec![9021]),
        (json!({"ttl": 86_401}), vec![9021]),
        (json!({"proxied": true, "content": "10.0.0.1"}), vec![9003]),
        (json!({"proxied": true, "content": "127.0.0.1"}), vec![9003]),
        (json!({"proxied": true, "content": "1.1.1.1"}), vec![9003]),
        (
            json!({"proxied": true, "type": "TXT", "content": "t"}),
            vec![1004, 9004],
        ),
        (
            json!({"proxied": true, "type": "MX", "content": "m.test"}),
            vec![1004, 9041],
        ),
        (json!({"tags": ["a:b"]}), vec![1004, 9300]),
        (json!({"comment": long}), vec![1004, 9301]),
        (json!({"comment": "two\nlines"}), vec![1004, 9301]),
        (json!({"type": "NOPE"}), vec![1004, 9002]),
        (json!({"name": "a b.example.com"}), vec![1004, 9000]),
        (json!({"content": 7}), vec![9207]),
    ] {
        let reply = world.patch(body.clone()).await;
        assert_eq!((reply.status, reply.codes()), (400, codes), "{body}");
        assert_eq!(reply.json["result"], Value::Null);
    }
    assert_eq!(world.content(), MAIN);
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn names_and_ttl_come_back_in_normal_form() {
    let world = World::new();
    let body = json!({"type": "AAAA", "name": "@", "content": "2001:DB8:0:0::1", "ttl": 600, "proxied": true});
    let made = world.post(body).await.json["result"].clone();
    assert_eq!(made["name"], "example.com");
    assert_eq!(made["content"], "2001:db8::1");
    assert_eq!(made["ttl"], 1, "a proxied record is always automatic");
    let body = json!({"type": "A", "name": "XN--BCHER-KVA.Example.com", "content": MAIN});
    assert_eq!(
        world.post(body).await.json["result"]["name"],
        "xn--bcher-kva.example.com"
    );
}

#[tokio::test]
async fn a_batch_runs_deletes_patches_puts_posts_in_this_order() {
    let world = World::new();
    // Only possible when the delete comes first, wherever it stands.
    let body = json!({
        "posts": [{"type": "CNAME", "name": "www", "content": "t.test"}],
        "deletes": [{"id": world.record}],
    });
    let reply = world.batch(body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json["result"]["deletes"][0]["content"], MAIN);
    assert_eq!(reply.json["result"]["posts"][0]["type"], "CNAME");
    assert_eq!(reply.json["result"]["patches"], json!([]));
    assert_eq!(world.cloudflare.records("www.example.com").len(), 1);
    assert_eq!(world.cloudflare.writes(), 1);
}

#[tokio::test]
async fn a_batch_with_one_bad_item_changes_nothing() {
    let world = World::new();
    let unknown = "0".repeat(32);
    let body = json!({"patches": [{"id": world.record, "content": BACKUP}, {"id": unknown, "content": BACKUP}]});
    let reply = world.batch(body).await;
    assert_eq!((reply.status, reply.codes()), (404, vec![81044]));
    assert_eq!(
        (world.content().as_str(), world.cloudflare.writes()),
        (MAIN, 0)
    );
}

#[tokio::test]
async fn a_batch_is_limited_by_the_plan() {
    let world = World::new();
    let patches: Vec<Value> = (0..201)
        .map(|_| json!({"id": world.record, "content": BACKUP}))
        .collect();
    assert_eq!(world.batch(json!({"patches": patches})).await.status, 400);
    assert_eq!(
        world.batch(json!({"patches": patches[1..]})).await.status,
        200
    );
    world.cloudflare.configure(|o| o.plan = Plan::Pro);
    assert_eq!(world.batch(json!({"patches": patches})).await.status, 200);
}

#[tokio::test]
async fn a_delete_is_answered_with_or_without_the_envelope() {
    let world = World::new();
    let id = world
        .cloudflare
        .add_record(&world.zone, RecordSpec::new("A", "b.example.com", MAIN));
    let delete = async |id: &str| {
        let path = format!("{}/{id}", world.records());
        world.try_send(Method::DELETE, &path, None).await.unwrap()
    };
    assert_eq!(delete(&id).await.json["success"], true);
    let again = delete(&id).await;
    assert_eq!((again.status, again.codes()), (404, vec![81044]));
    world.cloudflare.configure(|o| o.delete_envelope = false);
    let bare = delete(&world.record).await.json;
    assert_eq!(bare, json!({"result": {"id": world.record}}));
}

#[tokio::test]
async fn another_hand_can_edit_and_remove() {
    let world = World::new();
    let before = world.cloudflare.record(&world.record).unwrap().modified_on;
    assert!(world.cloudflare.edit(&world.record, BACKUP));
    assert_eq!(world.content(), BACKUP);
    assert!(world.cloudflare.record(&world.record).unwrap().modified_on > before);
    assert!(world.cloudflare.remove_record(&world.record));
    assert!(world.cloudflare.records("www.example.com").is_empty());
    assert_eq!(
        world.cloudflare.writes(),
        0,
        "none of this came over the API"
    );
}
