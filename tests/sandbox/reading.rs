//! Lists, filters, pages.

use super::*;

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

#[tokio::test]
async fn pages_can_be_kept_small() {
    let world = World::with(Options {
        largest_page: 100,
        ..Options::default()
    });
    let refused = world
        .get(&format!("{}?per_page=101", world.records()))
        .await;
    assert_eq!((refused.status, refused.codes()), (400, vec![1004]));
    let taken = world
        .get(&format!("{}?per_page=100", world.records()))
        .await;
    assert_eq!(taken.json["result_info"]["per_page"], 100);
}
