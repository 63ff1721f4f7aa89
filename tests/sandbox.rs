//! The sandbox behaves as Cloudflare and broken origins do.

mod support;

use std::time::{Duration, Instant};

use originswitch::sandbox::cloudflare::{
    Cloudflare, Options, Permission, Plan, RateLimits, RecordSpec, TokenSpec, TokenStatus,
};
use originswitch::sandbox::faults::{Effect, Fault, Matcher, Operation};
use reqwest::Method;
use serde_json::{Value, json};

const TOKEN: &str = "a-good-token";
const MAIN: &str = "192.0.2.10";
const BACKUP: &str = "198.51.100.20";

/// A Cloudflare with one zone, one record and one good token.
struct World {
    cloudflare: Cloudflare,
    zone: String,
    record: String,
    client: reqwest::Client,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
    json: Value,
}

impl Reply {
    /// Every code in it, those in chains too.
    fn codes(&self) -> Vec<u64> {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let mut codes = Vec::new();
        for error in errors {
            codes.extend(error["code"].as_u64());
            let chain = error["error_chain"].as_array().cloned().unwrap_or_default();
            codes.extend(chain.iter().filter_map(|c| c["code"].as_u64()));
        }
        codes
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let cloudflare = Cloudflare::start("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let zone = cloudflare.add_zone("example.com");
        cloudflare.add_token(TokenSpec::new(TOKEN, Permission::Edit));
        let record = cloudflare.add_record(&zone, RecordSpec::new("A", "www.example.com", MAIN));
        Self {
            cloudflare,
            zone,
            record,
            client: support::client(),
        }
    }

    fn records(&self) -> String {
        format!("/zones/{}/dns_records", self.zone)
    }

    fn record(&self) -> String {
        format!("{}/{}", self.records(), self.record)
    }

    fn content(&self) -> String {
        self.cloudflare.record(&self.record).unwrap().content
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Reply> {
        let request = self
            .client
            .request(method, format!("{}{path}", self.cloudflare.url()))
            .bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        reply(request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.try_send(Method::GET, path, None).await.unwrap()
    }

    async fn post(&self, body: Value) -> Reply {
        let path = self.records();
        self.try_send(Method::POST, &path, Some(body))
            .await
            .unwrap()
    }

    async fn patch(&self, body: Value) -> Reply {
        self.try_patch(body).await.unwrap()
    }

    async fn try_patch(&self, body: Value) -> reqwest::Result<Reply> {
        self.try_send(Method::PATCH, &self.record(), Some(body))
            .await
    }

    async fn batch(&self, body: Value) -> Reply {
        let path = format!("{}/batch", self.records());
        self.try_send(Method::POST, &path, Some(body))
            .await
            .unwrap()
    }

    /// A request with these headers and no token.
    async fn bare(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.get(format!("{}{path}", self.cloudflare.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        reply(request).await.unwrap()
    }

    fn fault(&self, matches: Matcher, effect: Effect) {
        self.cloudflare.fault(Fault::once(matches, effect));
    }
}

async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Reply {
        status,
        headers,
        text,
        json,
    })
}

fn names(list: &Reply, field: &str) -> Vec<String> {
    let result = list.json["result"].as_array().unwrap();
    result
        .iter()
        .map(|r| r[field].as_str().unwrap().to_owned())
        .collect()
}

// Reading.

#[tokio::test]
async fn a_list_comes_in_the_envelope_with_its_page() {
    let world = World::new();
    let list = world
        .get(&format!("{}?name=WWW.Example.com&type=A", world.records()))
        .await;
    assert_eq!(list.status, 200);
    assert_eq!(list.json["success"], true);
    let info = json!({"page": 1, "per_page": 100, "count": 1, "total_count": 1, "total_pages": 1});
    assert_eq!(list.json["result_info"], info);
    let record = &list.json["result"][0];
    assert_eq!(record["id"], world.record);
    assert_eq!(record["content"], MAIN);
    assert_eq!(record["comment"], Value::Null);
    assert_eq!(record["tags"], json!([]));
    let modified = record["modified_on"].as_str().unwrap();
    assert_eq!(
        modified.len(),
        "2026-11-22T18:44:44.478123Z".len(),
        "{modified}"
    );
}

#[tokio::test]
async fn filters_ignore_case_and_combine_with_all_or_any() {
    let world = World::with(Options {
        plan: Plan::Pro,
        ..Options::default()
    });
    let add = |spec| world.cloudflare.add_record(&world.zone, spec);
    add(RecordSpec::new("AAAA", "www.example.com", "2001:db8::10").comment("Left Alone"));
    add(RecordSpec::new("A", "api.example.com", "203.0.113.7").proxied());
    add(RecordSpec::new("TXT", "example.com", "\"v=spf1 -all\"").tags(&["Team:Mail", "old"]));
    let count = async |query: &str| {
        let list = world.get(&format!("{}?{query}", world.records())).await;
        assert_eq!(list.status, 200, "{query}: {}", list.text);
        list.json["result_info"]["total_count"].as_u64().unwrap()
    };
    for (query, expected) in [
        ("", 4),
        ("name.exact=WWW.example.com", 2),
        ("name.contains=PI.EX", 1),
        ("name.startswith=www", 2),
        ("name.endswith=.example.com", 3),
        ("content.contains=2001", 1),
        ("content=203.0.113.7", 1),
        ("type=a", 2),
        ("proxied=true", 1),
        ("comment.present=", 1),
        ("comment.absent=true", 3),
        ("comment.startswith=left", 1),
        ("tag=team:mail", 1),
        ("tag=team:post", 0),
        ("tag.present=OLD", 1),
        ("tag.absent=old", 3),
        ("tag.startswith=team:m", 1),
        ("tag=team:post&tag.present=old&tag_match=any", 1),
        ("name=www.example.com&type=A", 1),
        ("name=www.example.com&type=TXT&match=any", 3),
        // An empty filter filters nothing, which is why clients must not send one.
        ("name=", 4),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn lists_are_ordered_and_a_page_past_the_end_is_empty() {
    let world = World::new();
    for (name, content) in [("b", "203.0.113.2"), ("a", "203.0.113.3")] {
        let name = format!("{name}.example.com");
        world
            .cloudflare
            .add_record(&world.zone, RecordSpec::new("A", &name, content));
    }
    let list = |query: &str| format!("{}?{query}", world.records());
    let by_name = world
        .get(&list("order=name&direction=desc&per_page=2"))
        .await;
    assert_eq!(
        names(&by_name, "name"),
        ["www.example.com", "b.example.com"]
    );
    assert_eq!(by_name.json["result_info"]["total_pages"], 2);
    let second = world
        .get(&list("order=name&direction=desc&per_page=2&page=2"))
        .await;
    assert_eq!(names(&second, "name"), ["a.example.com"]);
    let past = world.get(&list("per_page=2&page=9")).await;
    assert_eq!((past.status, past.json["result"].clone()), (200, json!([])));
    assert_eq!(past.json["result_info"]["count"], 0);
}

#[tokio::test]
async fn zones_are_found_by_name_and_operator_within_their_page_limits() {
    let world = World::new();
    for name in ["example.net", "example.org", "shop.test"] {
        world.cloudflare.add_zone(name);
    }
    let found = world.get("/zones?name=example.com").await;
    assert_eq!(found.json["result"][0]["id"], world.zone);
    assert_eq!(found.json["result_info"]["per_page"], 20);
    let contains = world
        .get("/zones?name=contains:example&direction=desc")
        .await;
    assert_eq!(
        names(&contains, "name"),
        ["example.org", "example.net", "example.com"]
    );
    world.cloudflare.set_zone_status(&world.zone, "moved");
    let any = world
        .get("/zones?name=shop.test&status=moved&match=any")
        .await;
    assert_eq!(names(&any, "name"), ["example.com", "shop.test"]);
    assert_eq!(world.get("/zones?per_page=4").await.status, 400);
    assert_eq!(world.get("/zones?per_page=51").await.status, 400);
    assert_eq!(
        world.get("/zones?name=nowhere.test").await.json["result"],
        json!([])
    );
}

#[tokio::test]
async fn usage_counts_records_against_the_plan() {
    let world = World::new();
    let usage = world.get(&format!("{}/usage", world.records())).await;
    assert_eq!(
        usage.json["result"],
        json!({"record_quota": 200, "record_usage": 1})
    );
}

#[tokio::test]
async fn older_members_come_in_every_other_answer_if_wanted() {
    let world = World::with(Options {
        extra_members: true,
        ..Options::default()
    });
    let mut with = 0;
    for _ in 0..4 {
        let record = world.get(&world.record()).await;
        with += usize::from(record.json["result"]["zone_name"] == "example.com");
    }
    assert_eq!(with, 2);
}

// Writing.

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

// Paths, bodies, tokens.

#[tokio::test]
async fn unknown_paths_ids_and_methods_are_told_apart() {
    let world = World::new();
    let unknown = "0".repeat(32);
    for path in [
        "/zones/nonsense/dns_records",
        &format!("/zones/{unknown}/dns_records"),
        "/nowhere",
        &format!("{}/nonsense", world.records()),
    ] {
        let reply = world.get(path).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (404, vec![7003, 7000]),
            "{path}"
        );
    }
    let missing = world.get(&format!("{}/{unknown}", world.records())).await;
    assert_eq!((missing.status, missing.codes()), (404, vec![81044]));
    let method = world
        .try_send(Method::DELETE, "/zones", None)
        .await
        .unwrap();
    assert_eq!(method.status, 405);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_400() {
    let world = World::new();
    let url = format!("{}{}", world.cloudflare.url(), world.record());
    for body in ["{\"content\":", "", "[1]", "content=1"] {
        let request = world.client.patch(&url).bearer_auth(TOKEN).body(body);
        assert_eq!(reply(request).await.unwrap().status, 400, "{body}");
    }
}

#[tokio::test]
async fn each_kind_of_bad_credentials_has_its_own_answer() {
    let world = World::new();
    let key = "0123456789abcdef0123456789abcdef01234";
    for (headers, status, codes) in [
        (vec![], 400, vec![9106]),
        (
            vec![("authorization", "Bearer two words")],
            400,
            vec![6003, 6111],
        ),
        (vec![("authorization", "Bearer ")], 400, vec![6003, 6111]),
        (vec![("authorization", "Basic abc")], 400, vec![6003, 6111]),
        (
            vec![("x-auth-email", "nobody"), ("x-auth-key", key)],
            400,
            vec![6003, 6102],
        ),
        (
            vec![("x-auth-email", "a@b.test"), ("x-auth-key", TOKEN)],
            400,
            vec![6003, 6103],
        ),
        (vec![("authorization", "Bearer unknown")], 403, vec![9109]),
    ] {
        let reply = world.bare(&world.records(), &headers).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (status, codes),
            "{headers:?}"
        );
    }
    let headers = [("x-auth-email", "a@b.test"), ("x-auth-key", key)];
    let verify = world.bare("/user/tokens/verify", &headers).await;
    assert_eq!((verify.status, verify.codes()), (400, vec![1001]));
}

#[tokio::test]
async fn a_token_may_do_what_it_was_given_and_no_more() {
    let world = World::new();
    world
        .cloudflare
        .set_token(TOKEN, |t| t.elsewhere = Permission::Read);
    assert_eq!(world.get(&world.records()).await.status, 200);
    let write = world.patch(json!({"content": BACKUP})).await;
    assert_eq!((write.status, write.codes()), (403, vec![10000]));

    let other = world.cloudflare.add_zone("example.net");
    world
        .cloudflare
        .add_token(TokenSpec::new(TOKEN, Permission::None).zone(&other, Permission::Edit));
    assert_eq!(world.get(&world.records()).await.status, 403);
    assert_eq!(
        world
            .get(&format!("/zones/{other}/dns_records"))
            .await
            .status,
        200
    );
    assert_eq!(names(&world.get("/zones").await, "name"), ["example.net"]);
    world.cloudflare.set_token(TOKEN, |t| t.zone_read = false);
    assert_eq!(world.get("/zones?name=example.net").await.codes(), [10000]);
}

#[tokio::test]
async fn a_token_can_be_revoked_given_back_and_run_out() {
    let world = World::new();
    let status = async || world.get(&world.records()).await.status;
    world
        .cloudflare
        .set_token(TOKEN, |t| t.status = TokenStatus::Disabled);
    assert_eq!(status().await, 403);
    assert_eq!(
        world.get("/user/tokens/verify").await.json["result"]["status"],
        "disabled"
    );
    world
        .cloudflare
        .set_token(TOKEN, |t| t.status = TokenStatus::Active);
    assert_eq!(status().await, 200);
    let now = jiff::Timestamp::now();
    world
        .cloudflare
        .set_token(TOKEN, |t| t.expires_on = Some(now));
    assert_eq!(status().await, 403);
    let verify = world.get("/user/tokens/verify").await;
    assert_eq!(verify.json["result"]["status"], "expired");
    assert!(verify.json["result"]["expires_on"].is_string());
    let hour = jiff::SignedDuration::from_hours(1);
    world.cloudflare.set_token(TOKEN, |t| {
        (t.expires_on, t.not_before) = (None, Some(now + hour))
    });
    assert_eq!(status().await, 403);
}

#[tokio::test]
async fn tokens_are_verified_where_they_belong() {
    let world = World::new();
    let user = world.get("/user/tokens/verify").await;
    assert_eq!(user.status, 200);
    assert_eq!(
        user.json["messages"][0]["code"], 10000,
        "a code that is no error"
    );
    let account = format!("/accounts/{}/tokens/verify", world.cloudflare.account());
    assert_eq!(world.get(&account).await.status, 401);
    world
        .cloudflare
        .set_token(TOKEN, |t| t.account_owned = true);
    let user = world.get("/user/tokens/verify").await;
    assert_eq!((user.status, user.codes()), (401, vec![1000]));
    assert_eq!(world.get(&account).await.json["result"]["status"], "active");
}

// Limits.

#[tokio::test]
async fn a_token_over_its_budget_is_blocked_for_a_while() {
    let limits = RateLimits {
        per_token: 3,
        block: Duration::from_millis(300),
        ..RateLimits::default()
    };
    let world = World::with(Options {
        limits,
        ..Options::default()
    });
    for left in [2, 1, 0] {
        let reply = world.get("/zones").await;
        assert_eq!(reply.status, 200);
        assert!(
            reply
                .header("ratelimit")
                .starts_with(&format!("\"default\";r={left};t="))
        );
        assert_eq!(reply.header("ratelimit-policy"), "\"default\";q=3;w=300");
    }
    let over = world.get("/zones").await;
    assert_eq!((over.status, over.codes()), (429, vec![971]));
    assert_eq!(over.header("retry-after"), "1", "rounded up");
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(world.get("/zones").await.status, 200);
}

#[tokio::test]
async fn an_address_may_not_send_too_many_in_a_second() {
    let limits = RateLimits {
        per_ip: 5,
        code: 10429,
        ..RateLimits::default()
    };
    let world = World::with(Options {
        limits,
        ..Options::default()
    });
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.extend(world.get("/zones").await.codes());
    }
    assert_eq!(codes, [10429; 3]);
}

#[tokio::test]
async fn a_client_that_keeps_failing_to_authenticate_is_locked_out() {
    let limits = RateLimits {
        failures: Some(3),
        ..RateLimits::default()
    };
    let world = World::with(Options {
        limits,
        ..Options::default()
    });
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.extend(
            world
                .bare("/zones", &[("authorization", "Bearer wrong")])
                .await
                .codes(),
        );
    }
    assert_eq!(codes, [9109, 9109, 9109, 10502, 10502]);
}

// Faults.

#[tokio::test]
async fn a_server_error_is_a_page_of_html_and_does_nothing() {
    let world = World::new();
    for status in [500, 502, 503, 504, 520] {
        world.fault(Matcher::Writes, Effect::Status(status));
        let reply = world.patch(json!({"content": BACKUP})).await;
        assert_eq!(reply.status, status);
        assert!(reply.header("content-type").starts_with("text/html"));
        assert!(reply.text.starts_with("<html>"));
    }
    assert_eq!(world.content(), MAIN);
    assert_eq!(world.patch(json!({"content": BACKUP})).await.status, 200);
}

#[tokio::test]
async fn an_answer_can_hide_that_the_write_was_done() {
    for effect in [
        Effect::StatusAfter(502),
        Effect::TruncatedJson,
        Effect::CutAfter,
    ] {
        let world = World::new();
        world.fault(Matcher::Operation(Operation::PatchRecord), effect.clone());
        if let Ok(reply) = world.try_patch(json!({"content": BACKUP})).await {
            assert!(reply.json.is_null(), "{effect:?}: {}", reply.text);
        }
        assert_eq!(
            (world.content().as_str(), world.cloudflare.writes()),
            (BACKUP, 1),
            "{effect:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_can_hide_that_the_write_was_not_done() {
    let world = World::new();
    world.fault(Matcher::Writes, Effect::CutBefore);
    assert!(world.try_patch(json!({"content": BACKUP})).await.is_err());
    assert_eq!(world.content(), MAIN);
    world.fault(Matcher::Writes, Effect::SuccessFalse200);
    let reply = world.patch(json!({"content": BACKUP})).await;
    assert_eq!((reply.status, &reply.json["success"]), (200, &json!(false)));
    assert_eq!(world.content(), MAIN);
    let log = world.cloudflare.requests();
    assert_eq!((log[0].status, log[1].status), (None, Some(200)));
}

#[tokio::test]
async fn a_request_may_get_no_answer_at_all() {
    let world = World::new();
    world.fault(Matcher::Any, Effect::NothingAtAll);
    let patience = Duration::from_millis(200);
    let patch = world.try_patch(json!({"content": BACKUP}));
    assert!(tokio::time::timeout(patience, patch).await.is_err());
    assert_eq!(world.content(), MAIN);
    assert_eq!(world.get("/zones").await.status, 200);
}

#[tokio::test]
async fn throttling_forbidding_and_latency_come_on_request() {
    let world = World::new();
    world.fault(
        Matcher::Any,
        Effect::Throttle {
            retry_after: Some(7),
        },
    );
    let reply = world.get("/zones").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "7"));
    world.fault(
        Matcher::Zone("example.com".into()),
        Effect::SpuriousForbidden,
    );
    assert_eq!(world.get("/zones").await.status, 200, "of no zone");
    assert_eq!(world.get(&world.records()).await.codes(), [10000]);
    world.fault(Matcher::Reads, Effect::Latency(Duration::from_millis(150)));
    let start = Instant::now();
    assert_eq!(world.get("/zones").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn reads_can_lag_behind_writes() {
    let world = World::new();
    let lag = Duration::from_millis(300);
    let fault = Fault::always(Matcher::Any, Effect::StaleReads { lag });
    world.cloudflare.fault(fault);
    assert_eq!(
        world.patch(json!({"content": BACKUP})).await.json["result"]["content"],
        BACKUP
    );
    let seen = async || world.get(&world.records()).await.json["result"][0]["content"].clone();
    assert_eq!(seen().await, MAIN);
    tokio::time::sleep(lag).await;
    assert_eq!(seen().await, BACKUP);
}

#[tokio::test]
async fn a_ghost_record_is_confirmed_and_is_not_there() {
    let world = World::new();
    world.fault(
        Matcher::Operation(Operation::CreateRecord),
        Effect::GhostRecord,
    );
    let made = world
        .post(json!({"type": "A", "name": "g", "content": MAIN}))
        .await;
    let id = made.json["result"]["id"].as_str().unwrap();
    assert_eq!(
        world.get(&format!("{}/{id}", world.records())).await.status,
        404
    );
    assert_eq!(world.cloudflare.writes(), 0);
}

#[tokio::test]
async fn an_outage_can_come_in_two_phases() {
    let world = World::new();
    let phase = Duration::from_millis(200);
    world.cloudflare.two_phase_outage(503, phase, phase, phase);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.get("/zones").await.status);
        tokio::time::sleep(phase).await;
    }
    assert_eq!(statuses, [503, 200, 503, 200]);
}

#[tokio::test]
async fn a_stopped_cloudflare_refuses_and_comes_back_on_its_port() {
    let world = World::new();
    assert_eq!(world.get("/zones").await.status, 200);
    world.cloudflare.stop().await;
    let error = world
        .try_send(Method::GET, "/zones", None)
        .await
        .err()
        .unwrap();
    assert!(error.is_connect(), "{error:?}");
    world.cloudflare.restart().await.unwrap();
    assert_eq!(
        world.get(&world.records()).await.json["result"][0]["id"],
        world.record
    );
}

#[tokio::test]
async fn a_write_becomes_visible_later_and_a_shadow_hides_it() {
    let propagation = Duration::from_millis(200);
    let world = World::with(Options {
        propagation,
        ..Options::default()
    });
    let visible = || world.cloudflare.visible("www.example.com");
    assert_eq!(visible(), [MAIN]);
    world.patch(json!({"content": BACKUP})).await;
    assert_eq!(visible(), [MAIN]);
    tokio::time::sleep(propagation).await;
    assert_eq!(visible(), [BACKUP]);
    world
        .cloudflare
        .shadow("www.example.com", Some(&["203.0.113.99"]));
    assert_eq!(world.patch(json!({"content": MAIN})).await.status, 200);
    tokio::time::sleep(propagation).await;
    assert_eq!(visible(), ["203.0.113.99"]);
    world.cloudflare.shadow("www.example.com", None);
    assert_eq!(visible(), [MAIN]);
}

#[tokio::test]
async fn the_log_tells_all_but_the_secret() {
    let world = World::new();
    world.patch(json!({"content": BACKUP})).await;
    let log = world.cloudflare.requests();
    let entry = &log[0];
    assert_eq!(
        (entry.method.as_str(), entry.route()),
        ("PATCH", world.record().as_str())
    );
    assert_eq!(entry.json().unwrap(), json!({"content": BACKUP}));
    assert_eq!(entry.answer_json().unwrap()["result"]["content"], BACKUP);
    assert_eq!(entry.headers["authorization"], "***");
    assert!(!format!("{log:?}").contains(TOKEN));
    world.cloudflare.clear_requests();
    assert!(world.cloudflare.requests().is_empty());
}
