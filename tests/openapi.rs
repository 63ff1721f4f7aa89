//! The simulated Cloudflare keeps to Cloudflare's published schema.

mod support;

use originswitch::sandbox::Cloudflare;
use originswitch::sandbox::cloudflare::{Options, Permission, Plan, RecordSpec, TokenSpec};
use reqwest::Method;
use serde_json::{Value, json};
use support::openapi;

struct Caller {
    cloudflare: Cloudflare,
    client: reqwest::Client,
    token: &'static str,
}

impl Caller {
    fn new(plan: Plan) -> (Self, String) {
        let options = Options {
            plan,
            extra_members: true,
            ..Options::default()
        };
        let cloudflare = Cloudflare::start("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let zone = cloudflare.add_zone("example.com");
        let token = "good";
        let mut spec = TokenSpec::new(token, Permission::Edit);
        spec.expires_on = Some(jiff::Timestamp::MAX);
        cloudflare.add_token(spec);
        cloudflare.add_token(TokenSpec::new("reader", Permission::Read));
        let client = support::client();
        let caller = Self {
            cloudflare,
            client,
            token,
        };
        (caller, zone)
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> u16 {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self
            .client
            .request(method, format!("{}{path}", self.cloudflare.url()))
            .bearer_auth(self.token);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    }

    async fn ok(&self, method: &str, path: &str, body: Option<Value>) {
        let status = self.call(method, path, body.clone()).await;
        assert_eq!(status, 200, "{method} {path} {body:?}");
    }

    /// No fault found, or the schema is not here.
    fn assert_clean(&self) {
        if let Some(faults) = openapi::check(&self.cloudflare.requests()) {
            assert_eq!(faults, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn every_operation_keeps_to_the_schema() {
    let (caller, zone) = Caller::new(Plan::Pro);
    let spec = RecordSpec::new("A", "www.example.com", "192.0.2.10").comment("a note");
    let id = caller
        .cloudflare
        .add_record(&zone, spec.tags(&["a:b"]).proxied());
    let records = format!("/zones/{zone}/dns_records");
    let one = format!("{records}/{id}");
    for _ in 0..2 {
        // Twice, since every other answer has older members in it.
        caller
            .ok(
                "GET",
                "/zones?name=example.com&status=active&per_page=5",
                None,
            )
            .await;
        caller.ok("GET", &format!("/zones/{zone}"), None).await;
        caller.ok("GET", &format!("{records}?name.exact=www.example.com&type=A&order=name&per_page=100&proxied=true"), None).await;
        caller.ok("GET", &one, None).await;
    }
    caller.ok("GET", "/user/tokens/verify", None).await;
    caller
        .cloudflare
        .set_token("good", |t| t.account_owned = true);
    let account = caller.cloudflare.account();
    caller
        .ok("GET", &format!("/accounts/{account}/tokens/verify"), None)
        .await;
    caller
        .ok("PATCH", &one, Some(json!({"content": "198.51.100.20"})))
        .await;
    let put = json!({"type": "A", "name": "www.example.com", "content": "192.0.2.10", "ttl": 60});
    caller.ok("PUT", &one, Some(put)).await;
    let others = [
        json!({"type": "AAAA", "name": "www", "content": "2001:db8::1", "proxied": true}),
        json!({"type": "CNAME", "name": "c", "content": "t.example.net", "settings": {"flatten_cname": true}}),
        json!({"type": "MX", "name": "@", "content": "m.example.net", "priority": 10}),
        json!({"type": "TXT", "name": "@", "content": "\"v=spf1 -all\"", "comment": null}),
    ];
    for body in others {
        caller.ok("POST", &records, Some(body)).await;
    }
    let batch = json!({
        "patches": [{"id": id, "content": "203.0.113.5"}],
        "posts": [{"type": "A", "name": "b", "content": "203.0.113.6"}],
    });
    caller
        .ok("POST", &format!("{records}/batch"), Some(batch))
        .await;
    caller.ok("DELETE", &one, None).await;
    caller.ok("GET", &records, None).await;
    caller.assert_clean();
}

#[tokio::test]
async fn refusals_keep_to_the_schema() {
    let (mut caller, zone) = Caller::new(Plan::Free);
    let spec = RecordSpec::new("A", "www.example.com", "192.0.2.10");
    let id = caller.cloudflare.add_record(&zone, spec);
    let records = format!("/zones/{zone}/dns_records");
    let nobody = "0".repeat(32);
    let one = format!("{records}/{id}");
    let clash = json!({"type": "CNAME", "name": "www", "content": "t.example.net"});
    assert_eq!(caller.call("POST", &records, Some(clash)).await, 400);
    assert_eq!(
        caller
            .call("PATCH", &one, Some(json!({"tags": ["a:b"]})))
            .await,
        400
    );
    assert_eq!(
        caller
            .call("GET", &format!("{records}/{nobody}"), None)
            .await,
        404
    );
    assert_eq!(
        caller
            .call("GET", "/zones/nonsense/dns_records", None)
            .await,
        404
    );
    caller.cloudflare.configure(|o| o.limits.per_token = 0);
    assert_eq!(caller.call("GET", &records, None).await, 429);
    caller.cloudflare.configure(|o| o.limits.per_token = 1200);
    caller.token = "reader";
    assert_eq!(
        caller
            .call("PATCH", &one, Some(json!({"content": "192.0.2.11"})))
            .await,
        403
    );
    caller.token = "unknown";
    assert_eq!(caller.call("GET", "/zones", None).await, 403);
    assert_eq!(caller.call("GET", "/user/tokens/verify", None).await, 401);
    caller.assert_clean();
}

#[tokio::test]
async fn the_check_finds_what_is_wrong() {
    let (caller, zone) = Caller::new(Plan::Free);
    let records = format!("/zones/{zone}/dns_records");
    let id = "0".repeat(32);
    let patch = format!("{records}/{id}");
    caller
        .call("GET", &format!("{records}?nme=www.example.com"), None)
        .await;
    caller
        .call("GET", &format!("{records}?name=&type=A"), None)
        .await;
    caller.call("GET", "/zones?per_page=51", None).await;
    caller.call("PATCH", &patch, Some(json!({"ttl": 7}))).await;
    caller
        .call("PATCH", &patch, Some(json!({"modified_on": "now"})))
        .await;
    caller
        .call(
            "POST",
            &records,
            Some(json!({"type": "A", "content": "no address"})),
        )
        .await;
    caller.call("GET", "/nowhere", None).await;
    let Some(faults) = openapi::check_requests(&caller.cloudflare.requests()) else {
        return;
    };
    let found = |text: &str| faults.iter().any(|f| f.contains(text));
    assert!(found("unknown parameter nme"), "{faults:#?}");
    assert!(found("parameter name cannot be \"\""), "{faults:#?}");
    assert!(found("parameter per_page cannot be \"51\""), "{faults:#?}");
    assert!(found("{\"ttl\":7}"), "{faults:#?}");
    assert!(found("field modified_on is not writable"), "{faults:#?}");
    assert!(found("no address"), "{faults:#?}");
    assert!(found("/nowhere: not in the schema"), "{faults:#?}");
}
