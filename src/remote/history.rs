//! What was decided: a line for each decision, or one of them whole.

use super::Report;
use super::answers::{Decision, Origin, Probe, second};
use super::client::{Call, Client, Fault, Told};
use crate::table::{Table, printable};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt::Write;

/// The parts of a probe, in the order in which they come.
const PHASES: [&str; 4] = ["resolve", "connect", "tls", "response"];

/// The list of decisions.
#[derive(Deserialize)]
struct Decisions {
    decisions: Vec<Decision>,
}

/// The last decisions, newest first.
pub(super) async fn list(
    client: &Client,
    site: Option<&str>,
    limit: u32,
    json: bool,
) -> Result<Report, Fault> {
    let limit = limit.to_string();
    let mut query = vec![("limit", &*limit)];
    query.extend(site.map(|site| ("site", site)));
    let told: Told<Decisions> = client
        .ask(Call {
            query: &query,
            ..Call::get(&["decisions"])
        })
        .await?;
    if let (true, Some(site)) = (told.said.decisions.is_empty(), site) {
        // A site that is gone may have a past; one that has none must be there.
        let _: Told<IgnoredAny> = client.ask(Call::get(&["sites", site])).await?;
    }
    Ok(Report::of(if json {
        format!("{}\n", told.raw)
    } else {
        lines(&told.said.decisions)
    }))
}

/// One decision, with the probes that decided it.
pub(super) async fn one(client: &Client, id: i64, json: bool) -> Result<Report, Fault> {
    let id = id.to_string();
    let told: Told<Decision> = client.ask(Call::get(&["decisions", &id])).await?;
    Ok(Report::of(if json {
        format!("{}\n", told.raw)
    } else {
        whole(&told.said)
    }))
}

fn lines(decisions: &[Decision]) -> String {
    let mut table = Table::new(&[
        "ID", "TIME", "SITE", "TRIGGER", "RECORD", "DECISION", "RESULT", "TOOK",
    ]);
    for decision in decisions {
        let took = decision.duration_seconds;
        table.row(vec![
            decision.id.map_or_else(String::new, |id| id.to_string()),
            second(&decision.time),
            decision.site.clone(),
            decision.trigger.clone(),
            record(decision),
            decision.said(),
            decision.result.clone().unwrap_or_default(),
            took.map_or_else(String::new, |took| format!("{took:.2} s")),
        ]);
        table.note(&decision.explanation);
    }
    table.to_string()
}

/// The part of what the record held; its address too where it has no part.
fn record(decision: &Decision) -> String {
    match &decision.record {
        None => "not known".into(),
        Some(at) if at.role == "other" => at.to_string(),
        Some(at) => at.role.clone(),
    }
}

fn whole(decision: &Decision) -> String {
    let steps: Vec<String> = decision.steps.iter().map(ToString::to_string).collect();
    let record = decision.record.as_ref();
    let mut facts = vec![
        ("site", decision.site.clone()),
        ("time", decision.time.clone()),
        ("trigger", decision.trigger.clone()),
        (
            "record",
            record.map_or_else(|| "not known".into(), ToString::to_string),
        ),
        ("steps", steps.join(" ")),
        ("decision", decision.said()),
    ];
    let result = decision.result.clone();
    facts.extend(result.map(|result| ("result", result)));
    let took = decision.duration_seconds;
    facts.extend(took.map(|took| ("took", format!("{took:.3} s"))));
    facts.extend(decision.pin.as_ref().map(|pin| ("pin", pin.to_string())));
    let frozen = decision.frozen.as_ref();
    facts.extend(frozen.map(|freeze| ("freeze", format!("{}: {freeze}", freeze.scope))));
    facts.push(("because", decision.explanation.clone()));
    let mut text = String::new();
    for (name, fact) in facts {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:8}  {}", printable(&fact));
    }
    for origin in &decision.origins {
        text.push('\n');
        text.push_str(&evidence(origin));
    }
    text
}

/// What was found of an origin, and the probes that decided it.
fn evidence(origin: &Origin) -> String {
    let Origin {
        role,
        address,
        state,
        reason,
        ..
    } = origin;
    let head = printable(&format!("{role} ({address}) {state}: {reason}"));
    if origin.evidence.is_empty() {
        return format!("{head}\n  no probes of it are kept\n");
    }
    let phases = PHASES.map(str::to_uppercase);
    let mut heads = vec!["STARTED", "RESULT", "TOOK"];
    heads.extend(phases.iter().map(String::as_str));
    heads.push("REASON");
    let mut table = Table::new(&heads).indented();
    for probe in &origin.evidence {
        table.row(cells(probe));
    }
    format!("{head}\n{table}")
}

fn cells(probe: &Probe) -> Vec<String> {
    let mut cells = vec![
        probe.started.clone(),
        probe.result.clone(),
        milliseconds(probe.duration_seconds),
    ];
    let phase = |name: &&str| probe.phases.get(*name).copied();
    cells.extend(
        PHASES
            .iter()
            .map(|name| phase(name).map_or_else(String::new, milliseconds)),
    );
    cells.push(probe.reason.clone());
    cells
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn failover() -> Value {
        json!({
            "id": 42, "time": "2026-11-22T18:44:44.478Z", "site": "www", "trigger": "alert",
            "record": {"role": "main", "address": "192.0.2.10"},
            "origins": [
                {"role": "main", "address": "192.0.2.10", "state": "down",
                 "reason": "connect: connection refused", "probes": 3, "evidence": [
                    {"started": "2026-11-22T18:44:42.163Z", "result": "down",
                     "reason": "connect: connection refused", "duration_seconds": 0.000412,
                     "phases": {"connect": 0.000407}},
                    {"started": "2026-11-22T18:44:43.164Z", "result": "down",
                     "reason": "TLS: certificate expired", "duration_seconds": 0.031,
                     "phases": {"connect": 0.0102, "tls": 0.0207}}]},
                {"role": "backup", "address": "198.51.100.20", "state": "up",
                 "reason": "200 in 12 ms", "probes": 2}],
            "steps": [1, 2, 6, 7, 8], "action": "switch", "reason": "failover",
            "to": {"role": "backup", "address": "198.51.100.20"},
            "result": "confirmed", "duration_seconds": 2.314,
            "frozen": null, "explanation": "main (192.0.2.10) is down; record switched to backup",
        })
    }

    fn read(decision: Value) -> Decision {
        serde_json::from_value(decision).unwrap()
    }

    #[test]
    fn a_decision_has_a_line_and_its_why_below() {
        let mut lost = failover();
        lost["id"] = json!(41);
        lost["trigger"] = json!("timer");
        lost["record"] = json!({"role": "other", "address": "203.0.113.9"});
        for gone in ["to", "result", "duration_seconds"] {
            lost.as_object_mut().unwrap().remove(gone);
        }
        lost["action"] = json!("hold");
        lost["reason"] = json!("unknown_origin");
        lost["explanation"] = json!("other (203.0.113.9) is up");
        assert_eq!(
            lines(&[read(failover()), read(lost)]),
            "ID  TIME                  SITE  TRIGGER  RECORD               DECISION                   RESULT     TOOK\n\
             42  2026-11-22T18:44:44Z  www   alert    main                 switch failover to backup  confirmed  2.31 s\n\
             \x20 main (192.0.2.10) is down; record switched to backup\n\
             41  2026-11-22T18:44:44Z  www   timer    other (203.0.113.9)  hold unknown_origin\n\
             \x20 other (203.0.113.9) is up\n"
        );
    }

    #[test]
    fn one_decision_is_shown_with_the_probes_that_decided_it() {
        assert_eq!(
            whole(&read(failover())),
            "site      www\n\
             time      2026-11-22T18:44:44.478Z\n\
             trigger   alert\n\
             record    main (192.0.2.10)\n\
             steps     1 2 6 7 8\n\
             decision  switch failover to backup\n\
             result    confirmed\n\
             took      2.314 s\n\
             because   main (192.0.2.10) is down; record switched to backup\n\
             \n\
             main (192.0.2.10) down: connect: connection refused\n\
             \x20 STARTED                   RESULT  TOOK     RESOLVE  CONNECT  TLS      RESPONSE  REASON\n\
             \x20 2026-11-22T18:44:42.163Z  down    0.4 ms            0.4 ms                      connect: connection refused\n\
             \x20 2026-11-22T18:44:43.164Z  down    31.0 ms           10.2 ms  20.7 ms            TLS: certificate expired\n\
             \n\
             backup (198.51.100.20) up: 200 in 12 ms\n\
             \x20 no probes of it are kept\n"
        );
        let mut ordered = failover();
        ordered["pin"] = json!({"origin": "backup", "address": "198.51.100.20",
            "until": "2026-11-23T06:00:00.000Z", "reason": "kernel", "forced": false});
        ordered["frozen"] = json!({"scope": "all", "until": null, "reason": "move"});
        let text = whole(&read(ordered));
        assert!(text.contains(
            "pin       pinned to backup (198.51.100.20) until 2026-11-23T06:00:00Z (kernel)\n\
             freeze    all: frozen (move)\n"
        ));
    }
}
