//! One table that a person reads at night: where each site is, what it would
//! do, what stops it, and what lifts that.

use super::answers::{All, Freeze, Site, second};
use super::client::{Call, Client, Fault, Told};
use super::{Report, list};
use crate::table::Table;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Sites of one page.
const PAGE: usize = 1000;

/// A page of the list of sites.
#[derive(Deserialize)]
struct Page {
    sites: Vec<Box<RawValue>>,
}

/// The sites with these names, or all.
pub(super) async fn run(client: &Client, names: &[String], json: bool) -> Result<Report, Fault> {
    let all: Told<All> = client.ask(Call::get(&["freeze"])).await?;
    let sites = if names.is_empty() {
        every(client).await?
    } else {
        named(client, names).await?
    };
    let (raw, mut sites): (Vec<_>, Vec<_>) =
        sites.into_iter().map(|told| (told.raw, told.said)).unzip();
    Ok(Report::of(if json {
        // Beside the sites, what stands for all of them.
        format!("{{\"all\":{},\"sites\":{}}}\n", all.raw, list(&raw))
    } else {
        text(&mut sites, all.said.freeze.as_ref())
    }))
}

async fn named(client: &Client, names: &[String]) -> Result<Vec<Told<Site>>, Fault> {
    let mut sites = Vec::new();
    for name in names {
        sites.push(client.ask(Call::get(&["sites", name])).await?);
    }
    Ok(sites)
}

/// Every page of the list.
async fn every(client: &Client) -> Result<Vec<Told<Site>>, Fault> {
    let limit = PAGE.to_string();
    let mut sites: Vec<Told<Site>> = Vec::new();
    loop {
        let after = sites.last().map(|last| last.said.name.clone());
        let mut query = vec![("limit", &*limit)];
        query.extend(after.as_deref().map(|name| ("after", name)));
        let page: Told<Page> = client
            .ask(Call {
                query: &query,
                ..Call::get(&["sites"])
            })
            .await?;
        let count = page.said.sites.len();
        for raw in page.said.sites {
            sites.push(client.understand(raw)?);
        }
        if count < PAGE {
            return Ok(sites);
        }
    }
}

/// The table; what stands for all sites is a line above it.
fn text(sites: &mut [Site], all: Option<&Freeze>) -> String {
    sites.sort_by_key(|site| (!needs_a_look(site), site.hold.is_none()));
    let mut table = Table::new(&["SITE", "RECORD", "ORIGINS", "DECISION", "LIFTED BY"]);
    for site in sites.iter() {
        let record = site.record.as_ref();
        let lift = site.lift.as_ref();
        table.row(vec![
            site.name.clone(),
            record.map_or_else(|| "not known".into(), ToString::to_string),
            origins(site),
            decision(site),
            lift.map_or_else(String::new, |command| format!("originswitch {command}")),
        ]);
        for note in notes(site) {
            table.note(&note);
        }
    }
    let above = all.map_or(String::new(), |freeze| {
        format!("all sites are {freeze}: `originswitch unfreeze` ends it\n\n")
    });
    format!("{above}{table}")
}

/// "main down, backup up".
fn origins(site: &Site) -> String {
    let origins = site.origins.iter();
    let states = origins.map(|origin| format!("{} {}", origin.role, origin.state));
    states.collect::<Vec<_>>().join(", ")
}

/// What it would do: its last decision, and a result that is not a plain success.
fn decision(site: &Site) -> String {
    match (&site.hold, &site.last_decision) {
        (Some(hold), _) => format!("hold {hold}"),
        (None, None) => "not decided yet".into(),
        (None, Some(last)) => match last.result.as_deref() {
            None | Some("confirmed") => last.said(),
            Some(result) => format!("{}: {result}", last.said()),
        },
    }
}

/// Whether a person should look at the site first.
fn needs_a_look(site: &Site) -> bool {
    let on_main = site.record.as_ref().is_some_and(|at| at.role == "main");
    let main_down = site
        .origins
        .iter()
        .any(|origin| origin.role == "main" && origin.state == "down");
    !on_main || main_down || site.hold.is_some() || site.record_error.is_some()
}

/// The lines below a site: why it is as it is, and what people ordered.
fn notes(site: &Site) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &site.record_error {
        notes.push(format!("the record cannot be read now: {error}"));
    }
    if let (true, Some(last)) = (needs_a_look(site), &site.last_decision) {
        let until = site.hold_until.as_deref();
        let until = until.map_or(String::new(), |at| format!("held until {}: ", second(at)));
        notes.push(format!("{until}{}", last.explanation));
    }
    if let Some(pin) = &site.pin {
        let name = &site.name;
        notes.push(format!("{pin}: `originswitch unpin {name}` ends it"));
    }
    // That of all sites is told above, that of a pin with the pin.
    if let Some(freeze) = site.freeze.as_ref().filter(|f| f.scope == "site") {
        let name = &site.name;
        notes.push(format!("{freeze}: `originswitch unfreeze {name}` ends it"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn origin(role: &str, address: &str, state: &str) -> Value {
        json!({"role": role, "address": address, "state": state, "reason": "", "probes": 2})
    }

    /// A site of two origins on one of them, as the API shows it.
    fn site(name: &str, nets: [&str; 2], states: [&str; 2], on: usize) -> Value {
        let roles = ["main", "backup"];
        let origins = [0, 1].map(|n| origin(roles[n], nets[n], states[n]));
        json!({
            "name": name, "hostnames": [format!("{name}.example.com")],
            "record": {"role": roles[on], "address": nets[on]},
            "origins": origins, "hold": null, "pin": null, "frozen": false, "freeze": null,
            "alert": null, "last_decision": decision(name, "keep", "on_main", ""),
        })
    }

    fn decision(site: &str, action: &str, reason: &str, explanation: &str) -> Value {
        json!({
            "id": 7, "time": "2026-11-23T02:58:03.478Z", "site": site, "trigger": "timer",
            "record": null, "origins": [], "steps": [], "action": action, "reason": reason,
            "explanation": explanation,
        })
    }

    fn printed(sites: &[Value], all: Option<Value>) -> String {
        let read = |site: &Value| serde_json::from_value(site.clone()).unwrap();
        let mut sites: Vec<Site> = sites.iter().map(read).collect();
        let all = all.map(|freeze| serde_json::from_value(freeze).unwrap());
        text(&mut sites, all.as_ref())
    }

    fn night() -> String {
        let blog = site("blog", ["192.0.2.50", "198.51.100.60"], ["up", "up"], 0);
        let mut shop = site("shop", ["192.0.2.30", "198.51.100.40"], ["up", "up"], 1);
        let until = "2026-11-23T06:00:00.000Z";
        shop["pin"] = json!({"origin": "backup", "address": "198.51.100.40", "until": until,
            "reason": "kernel update", "forced": false});
        let said = "backup (198.51.100.40) is up; \
                    pinned to backup until 2026-11-23T06:00:00Z (kernel update)";
        shop["last_decision"] = decision("shop", "keep", "on_main", said);
        let mut www = site("www", ["192.0.2.10", "198.51.100.20"], ["up", "up"], 1);
        www["hold"] = json!("switch_budget");
        www["hold_until"] = json!("2026-11-23T03:20:41.902Z");
        www["lift"] = json!("release www");
        let said = "backup (198.51.100.20) is up; main (192.0.2.10) is up; not switched to main: \
                    5 of 6 switches were made within 1 h, and a return leaves one for the next \
                    flight: find out why the site moves so often; `originswitch release www` \
                    lifts this";
        www["last_decision"] = decision("www", "hold", "switch_budget", said);
        printed(&[blog, shop, www], None)
    }

    #[test]
    fn what_needs_a_person_comes_first_with_its_why_and_its_way_out() {
        assert_eq!(
            night(),
            "SITE  RECORD                  ORIGINS             DECISION            LIFTED BY\n\
             www   backup (198.51.100.20)  main up, backup up  hold switch_budget  originswitch release www\n\
             \x20 held until 2026-11-23T03:20:41Z: backup (198.51.100.20) is up; main (192.0.2.10) is up; not switched to main: 5 of 6 switches were made within 1 h, and a return leaves one for the next flight: find out why the site moves so often; `originswitch release www` lifts this\n\
             shop  backup (198.51.100.40)  main up, backup up  keep on_main\n\
             \x20 backup (198.51.100.40) is up; pinned to backup until 2026-11-23T06:00:00Z (kernel update)\n\
             \x20 pinned to backup (198.51.100.40) until 2026-11-23T06:00:00Z (kernel update): `originswitch unpin shop` ends it\n\
             blog  main (192.0.2.50)       main up, backup up  keep on_main\n"
        );
        let rows = night();
        let rows = rows.lines().filter(|line| !line.starts_with(' '));
        assert!(rows.map(str::len).all(|wide| wide <= 100));
    }

    #[test]
    fn the_readme_shows_what_is_printed() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&night()), "{}", night());
    }

    #[test]
    fn a_freeze_of_all_is_told_once_and_above() {
        let mut www = site("www", ["192.0.2.10", "198.51.100.20"], ["down", "up"], 0);
        let until = "2026-11-23T06:00:00.000Z";
        let all = json!({"scope": "all", "until": until, "reason": "move"});
        www["freeze"] = all.clone();
        www["hold"] = json!("frozen");
        www["lift"] = json!("unfreeze");
        www["last_decision"] = decision("www", "hold", "frozen", "main (192.0.2.10) is down");
        let blog = site("blog", ["192.0.2.50", "198.51.100.60"], ["up", "up"], 0);
        assert_eq!(
            printed(&[blog, www], Some(all)),
            "all sites are frozen until 2026-11-23T06:00:00Z (move): `originswitch unfreeze` ends it\n\
             \n\
             SITE  RECORD             ORIGINS               DECISION      LIFTED BY\n\
             www   main (192.0.2.10)  main down, backup up  hold frozen   originswitch unfreeze\n\
             \x20 main (192.0.2.10) is down\n\
             blog  main (192.0.2.50)  main up, backup up    keep on_main\n"
        );
    }

    #[test]
    fn orders_of_one_site_are_told_below_it_with_what_ends_them() {
        let mut www = site("www", ["192.0.2.10", "198.51.100.20"], ["up", "up"], 0);
        www["freeze"] = json!({"scope": "site", "until": null, "reason": "move"});
        let mut shop = site("shop", ["192.0.2.30", "198.51.100.40"], ["up", "down"], 0);
        shop["pin"] = json!({"origin": "main", "address": "192.0.2.30", "until": null,
            "reason": "", "forced": true});
        shop["freeze"] = json!({"scope": "pin", "until": null, "reason": ""});
        let text = printed(&[shop, www], None);
        let notes: Vec<&str> = text.lines().filter(|line| line.starts_with(' ')).collect();
        assert_eq!(
            notes,
            [
                "  pinned to main (192.0.2.30), by force, and frozen: `originswitch unpin shop` ends it",
                "  frozen (move): `originswitch unfreeze www` ends it",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut www = site("www", ["192.0.2.10", "198.51.100.20"], ["unknown", "up"], 0);
        www["record"] = Value::Null;
        www["record_error"] = json!("Cloudflare does not answer");
        www["last_decision"] = Value::Null;
        let mut shop = site("shop", ["192.0.2.30", "198.51.100.40"], ["down", "up"], 0);
        let mut last = decision("shop", "switch", "failover", "main is down");
        last["to"] = json!({"role": "backup", "address": "198.51.100.40"});
        last["result"] = json!("rejected");
        shop["last_decision"] = last;
        assert_eq!(
            printed(&[shop, www], None),
            "SITE  RECORD             ORIGINS                  DECISION                             LIFTED BY\n\
             shop  main (192.0.2.30)  main down, backup up     switch failover to backup: rejected\n\
             \x20 main is down\n\
             www   not known          main unknown, backup up  not decided yet\n\
             \x20 the record cannot be read now: Cloudflare does not answer\n"
        );
    }
}
