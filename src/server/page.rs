//! The page for people: plain HTML, no script.

use super::{App, Asked, Past};
use crate::failover::{SiteHandle, Status};
use crate::rule::decision::{Decision, OriginView};
use crate::rule::standing::{Freeze, Scope, terms};
use crate::server::shown::time;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::fmt::{self, Write};

/// Sites and decisions on one page.
const SITES: usize = 200;
const DECISIONS: usize = 50;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c1e21;background:#fff}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}\
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid #dcdfe3}\
th{font-weight:600}small,.dim{color:#5b6168}\
.up{color:#11692c}.down{color:#b3261e;font-weight:600}.unknown{color:#7a5600}\
.hold,.switch{font-weight:600}code{font-size:.95em}\
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e4e6e9}th,td{border-color:#34383d}\
small,.dim{color:#9aa1a9}.up{color:#6fce8b}.down{color:#ff8a80}.unknown{color:#e3b341}a{color:#8ab4f8}}";

/// Where the list of sites goes on.
#[derive(Deserialize)]
pub(super) struct PageQuery {
    after: Option<String>,
}

/// Text that is safe inside HTML, wherever it came from.
struct Safe<'a>(&'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// `GET /`.
pub(super) async fn page(app: App, Asked(query): Asked<PageQuery>) -> Response {
    let sites = app.sites();
    let after = query.after.unwrap_or_default();
    let rest = sites.after(&after);
    let past = Past {
        site: None,
        limit: DECISIONS,
        before: None,
    };
    let decisions = app.history.decisions(past).await;
    let mut html = String::with_capacity(16 * 1024);
    // Writing into a String cannot fail.
    let _ = write_page(&mut html, sites.sites.len(), rest, &decisions);
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

fn write_page(
    html: &mut String,
    all: usize,
    sites: &[std::sync::Arc<SiteHandle>],
    decisions: &Result<Vec<Decision>, String>,
) -> fmt::Result {
    write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=10>\
         <meta name=viewport content='width=device-width'><title>originswitch</title>\
         <style>{STYLE}</style><h1>originswitch</h1>\
         <p class=dim>version {} · <a href=/metrics>metrics</a> · <a href=/api/v1/sites>sites</a> · \
         <a href=/api/v1/decisions>decisions</a> · <a href=/-/ready>ready</a></p>\
         <h2>Sites</h2><table><tr><th>Site<th>Record points to<th>Origins<th>Held by<th>Alert</tr>",
        env!("CARGO_PKG_VERSION")
    )?;
    for handle in sites.iter().take(SITES) {
        write_site(html, handle, &handle.status())?;
    }
    html.push_str("</table>");
    if let (true, Some(last)) = (sites.len() > SITES, sites.get(SITES - 1)) {
        let name = Safe(&last.site.name).to_string();
        write!(
            html,
            "<p><a href='/?after={name}'>more of {all} sites</a></p>"
        )?;
    }
    html.push_str("<h2>Last decisions</h2>");
    match decisions {
        Err(fault) => write!(
            html,
            "<p class=down>The history cannot be read: {}</p>",
            Safe(fault)
        ),
        Ok(decisions) if decisions.is_empty() => {
            html.push_str("<p class=dim>None yet.</p>");
            Ok(())
        }
        Ok(decisions) => write_decisions(html, decisions),
    }
}

fn write_site(html: &mut String, handle: &SiteHandle, status: &Status) -> fmt::Result {
    write!(
        html,
        "<tr><td><b>{}</b>{}<br><small>{}</small><td>",
        Safe(&handle.site.name),
        if handle.site.policy.dry_run {
            " <span class=hold>dry run</span>"
        } else {
            ""
        },
        Safe(&handle.site.hostnames.join(", "))
    )?;
    match &status.record {
        Some(at) => write!(
            html,
            "<b>{}</b><br><small>{}</small>",
            at.role,
            Safe(&at.address)
        )?,
        None => html.push_str("<span class=unknown>not known</span>"),
    }
    if let Some(fault) = &status.record_error {
        write!(
            html,
            "<br><small class=down>cannot be read now: {}</small>",
            Safe(fault)
        )?;
    }
    html.push_str("<td>");
    for view in &status.origins {
        write_origin(html, view)?;
    }
    match status.hold {
        Some(hold) => write!(html, "<td class=hold>{}", hold.as_str())?,
        None if status.last_decision.is_none() => html.push_str("<td class=dim>not decided yet"),
        None => html.push_str("<td class=dim>nothing"),
    }
    write_orders(html, status)?;
    match status.alert {
        Some(alert) => write!(
            html,
            "<td>{}<br><small>{}</small>",
            alert.status.as_str(),
            time(alert.received)
        )?,
        None => html.push_str("<td class=dim>none"),
    }
    html.push_str("</tr>");
    Ok(())
}

/// What a person ordered, until when and why.
fn write_orders(html: &mut String, status: &Status) -> fmt::Result {
    if let Some((role, pin)) = status.pin.as_deref() {
        let said = terms(pin.until, &pin.reason);
        write!(
            html,
            "<br><b>pinned</b> to {role}<small>{}</small>",
            Safe(&said)
        )?;
    }
    if let Some(frozen) = &status.frozen {
        let Freeze { until, reason } = &frozen.freeze;
        let said = terms(*until, reason);
        let whom = match frozen.scope {
            Scope::Site => "frozen",
            Scope::All => "all frozen",
            Scope::Pin => "frozen by the pin",
        };
        write!(html, "<br><b>{whom}</b><small>{}</small>", Safe(&said))?;
    }
    Ok(())
}

fn write_origin(html: &mut String, view: &OriginView) -> fmt::Result {
    let state = view.state().as_str();
    write!(
        html,
        "{} <small>{}</small>: <span class={state}>{state}</span> <small>{}</small><br>",
        view.at.role,
        Safe(&view.at.address),
        Safe(&view.reason)
    )
}

fn write_decisions(html: &mut String, decisions: &[Decision]) -> fmt::Result {
    html.push_str("<table><tr><th>Time<th>Site<th>Decision<th>Because</tr>");
    for decision in decisions {
        let action = decision.action().as_str();
        write!(
            html,
            "<tr><td><small>{}</small><td>{}<td><span class={action}>{action} {}</span>",
            time(decision.time),
            Safe(&decision.site),
            decision.reason.as_str()
        )?;
        if let Some(to) = &decision.to {
            write!(html, "<br>to {}", to.role)?;
        }
        if let Some(result) = decision.result {
            write!(html, ": {}", result.as_str())?;
        }
        write!(
            html,
            "<br><small>by {}</small><td>{}</tr>",
            decision.trigger.as_str(),
            Safe(&decision.explanation)
        )?;
    }
    html.push_str("</table>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let text = Safe("<script>alert('x\"&')</script>").to_string();
        assert_eq!(
            text,
            "&lt;script&gt;alert(&#39;x&quot;&amp;&#39;)&lt;/script&gt;"
        );
    }
}
