//! Paths, bodies, tokens and budgets.

use super::*;

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
    let verify = world.get("/user/tokens/verify").await;
    assert_eq!(verify.json["result"]["status"], "active");
    assert!(verify.json["result"]["not_before"].is_string());
    assert!(world.cloudflare.remove_token(TOKEN));
    assert!(!world.cloudflare.remove_token(TOKEN));
    assert_eq!(world.get(&world.records()).await.codes(), [9109]);
    let verify = world.get("/user/tokens/verify").await;
    assert_eq!((verify.status, verify.codes()), (401, vec![1000]));
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
