//! What is so after an order, in a line for each site, and whether it was done.

use super::answers::{Decision, Site};
use super::orders::Order;
use crate::ending::{DONE, FAILED};
use crate::table::printable;

/// The sites that the brake let go.
pub(super) fn let_go(released: &[String]) -> String {
    if released.is_empty() {
        return "the brake held no site\n".into();
    }
    let line = |site: &String| {
        let site = printable(site);
        format!("{site}: let go by the brake, and looked at again\n")
    };
    released.iter().map(line).collect()
}

/// What stands for a site after an order that needed no decision.
pub(super) fn stands(order: &Order, site: &Site) -> String {
    if matches!(order, Order::Unpin) {
        let record = site.record.as_ref();
        let on = record.map_or_else(|| "its record is not known".into(), |at| format!("on {at}"));
        return match &site.pin {
            None => format!("not pinned, {on}"),
            Some(pin) => pin.to_string(),
        };
    }
    match &site.freeze {
        None => "not frozen".into(),
        Some(freeze) if freeze.scope == "all" => {
            format!("all sites are {freeze}: `originswitch unfreeze` ends it")
        }
        Some(freeze) => freeze.to_string(),
    }
}

/// What became of an order that led to a decision, and the exit code.
pub(super) fn followed(order: &Order, decision: &Decision) -> (String, u8) {
    let result = decision.result.as_ref();
    let result = result.map_or(String::new(), |result| format!(", {result}"));
    let (done, so) = match order {
        Order::Pin { .. } => {
            let pin = decision.pin.as_ref();
            let so = pin.map_or_else(|| "not pinned".into(), ToString::to_string);
            let dry = decision.result.as_deref() == Some("dry_run");
            let code = code(pin.is_some() && decision.action != "hold" && !dry, decision);
            // Where it is pinned to is said already.
            let said = format!("{} {}", decision.action, decision.reason);
            return (format!("{so}: {said}{result}"), code);
        }
        Order::Failback => match (on_main(decision), &decision.pin) {
            (Some(at), _) => (true, format!("on {at}")),
            (None, None) => (false, "not back on main".to_owned()),
            (None, Some(pin)) => {
                let site = &decision.site;
                let lift = format!("`originswitch unpin {site}` ends it");
                (false, format!("not back on main, {pin} ({lift})"))
            }
        },
        Order::Trust => (
            decision.reason != "unproven",
            "its origins count as proven".to_owned(),
        ),
        _ => (
            !matches!(
                &*decision.reason,
                "switch_budget" | "foreign" | "brake" | "wave"
            ),
            "released".to_owned(),
        ),
    };
    let code = code(done, decision);
    (format!("{so}: {}{result}", decision.said()), code)
}

/// Where the site is after the decision, if that is on MAIN.
fn on_main(decision: &Decision) -> Option<String> {
    let at = match decision.result.as_deref() {
        Some("confirmed") => decision.to.as_ref(),
        Some(_) => None,
        None => decision.record.as_ref(),
    }?;
    (at.role == "main").then(|| at.to_string())
}

/// As for `originswitch once`: what could not be told or written is a failure.
fn code(done: bool, decision: &Decision) -> u8 {
    let untold = matches!(
        &*decision.reason,
        "unconfirmed" | "record_shape" | "cloudflare_unavailable"
    );
    let unwritten = matches!(decision.result.as_deref(), Some("rejected" | "unconfirmed"));
    if done && !untold && !unwritten {
        DONE
    } else {
        FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Terms;
    use serde_json::{Value, json};

    /// A decision on a site that is on MAIN.
    fn decision(action: &str, reason: &str) -> Value {
        json!({
            "id": null, "time": "2026-11-23T02:58:03.478Z", "site": "www", "trigger": "manual",
            "record": {"role": "main", "address": "192.0.2.10"}, "origins": [], "steps": [],
            "action": action, "reason": reason, "explanation": "",
        })
    }

    fn on_backup(mut decision: Value) -> Value {
        decision["record"] = json!({"role": "backup", "address": "198.51.100.20"});
        decision
    }

    /// A switch from BACKUP to MAIN with this result.
    fn switch(reason: &str, result: &str) -> Value {
        let mut decision = on_backup(decision("switch", reason));
        decision["to"] = json!({"role": "main", "address": "192.0.2.10"});
        decision["result"] = json!(result);
        decision
    }

    fn pinned(mut decision: Value, origin: &str) -> Value {
        decision["pin"] = json!({"origin": origin, "address": "192.0.2.10",
            "until": "2026-11-23T06:00:00.000Z", "reason": "kernel", "forced": false});
        decision
    }

    fn pin() -> Order {
        Order::Pin {
            origin: None,
            terms: Terms::default(),
            force: false,
        }
    }

    #[test]
    fn an_order_that_led_to_a_decision_says_what_is_so_and_whether_it_was_done() {
        let on_main = decision("keep", "on_main");
        let waits = on_backup(decision("hold", "failback_wait"));
        let pinned_to = "pinned to main (192.0.2.10) until 2026-11-23T06:00:00Z (kernel)";
        let by_pin = format!("not back on main, {pinned_to} (`originswitch unpin www` ends it)");
        for (order, decision, code, said) in [
            (
                Order::Failback,
                switch("failback", "confirmed"),
                DONE,
                "on main (192.0.2.10): switch failback to main, confirmed",
            ),
            (
                Order::Failback,
                on_main.clone(),
                DONE,
                "on main (192.0.2.10): keep on_main",
            ),
            (
                Order::Failback,
                on_backup(decision("keep", "main_down")),
                FAILED,
                "not back on main: keep main_down",
            ),
            (
                Order::Failback,
                waits.clone(),
                FAILED,
                "not back on main: hold failback_wait",
            ),
            (
                Order::Failback,
                switch("failback", "rejected"),
                FAILED,
                "not back on main: switch failback to main, rejected",
            ),
            (
                Order::Failback,
                switch("failback", "dry_run"),
                FAILED,
                "not back on main: switch failback to main, dry_run",
            ),
            (
                Order::Failback,
                pinned(on_backup(on_main.clone()), "main"),
                FAILED,
                &format!("{by_pin}: keep on_main"),
            ),
            (
                pin(),
                pinned(switch("pin", "confirmed"), "main"),
                DONE,
                &format!("{pinned_to}: switch pin, confirmed"),
            ),
            (
                pin(),
                pinned(switch("pin", "unconfirmed"), "main"),
                FAILED,
                &format!("{pinned_to}: switch pin, unconfirmed"),
            ),
            (
                pin(),
                pinned(switch("pin", "dry_run"), "main"),
                FAILED,
                &format!("{pinned_to}: switch pin, dry_run"),
            ),
            (
                pin(),
                pinned(on_main.clone(), "main"),
                DONE,
                &format!("{pinned_to}: keep on_main"),
            ),
            (
                pin(),
                pinned(decision("hold", "cloudflare_unavailable"), "main"),
                FAILED,
                &format!("{pinned_to}: hold cloudflare_unavailable"),
            ),
            (pin(), on_main.clone(), FAILED, "not pinned: keep on_main"),
            (
                Order::Trust,
                switch("failover", "confirmed"),
                DONE,
                "its origins count as proven: switch failover to main, confirmed",
            ),
            (
                Order::Trust,
                decision("hold", "unproven"),
                FAILED,
                "its origins count as proven: hold unproven",
            ),
            (
                Order::Trust,
                decision("hold", "record_shape"),
                FAILED,
                "its origins count as proven: hold record_shape",
            ),
            (
                Order::Trust,
                decision("hold", "frozen"),
                DONE,
                "its origins count as proven: hold frozen",
            ),
            (Order::Release, waits, DONE, "released: hold failback_wait"),
            (
                Order::Release,
                decision("hold", "brake"),
                FAILED,
                "released: hold brake",
            ),
        ] {
            let decision: Decision = serde_json::from_value(decision).unwrap();
            assert_eq!(
                followed(&order, &decision),
                (said.to_owned(), code),
                "{order:?}"
            );
        }
    }

    #[test]
    fn an_order_that_stands_says_what_stands() {
        let site = |pin: Value, freeze: Value| -> Site {
            let record = json!({"role": "main", "address": "192.0.2.10"});
            let site = json!({"name": "www", "record": record, "origins": [], "hold": null,
                "pin": pin, "freeze": freeze, "last_decision": null});
            serde_json::from_value(site).unwrap()
        };
        let freeze = |scope: &str| json!({"scope": scope, "until": null, "reason": "move"});
        let none = Value::Null;
        for (order, site, said) in [
            (
                Order::Freeze(Terms::default()),
                site(none.clone(), freeze("site")),
                "frozen (move)",
            ),
            (
                Order::Unfreeze,
                site(none.clone(), none.clone()),
                "not frozen",
            ),
            (
                Order::Unfreeze,
                site(none.clone(), freeze("all")),
                "all sites are frozen (move): `originswitch unfreeze` ends it",
            ),
            (
                Order::Unpin,
                site(none.clone(), none),
                "not pinned, on main (192.0.2.10)",
            ),
        ] {
            assert_eq!(stands(&order, &site), said);
        }
        assert_eq!(let_go(&[]), "the brake held no site\n");
        assert_eq!(
            let_go(&["www".into(), "shop".into()]),
            "www: let go by the brake, and looked at again\n\
             shop: let go by the brake, and looked at again\n"
        );
    }
}
