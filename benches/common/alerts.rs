//! Alerts as Alertmanager sends and takes them: eight labels, three notes.

/// What Alertmanager and its receivers are sent of one alert alike.
fn shared(number: usize) -> String {
    format!(
        r#""labels":{{"alertname":"OriginDown","instance":"192.0.2.{}:443","job":"blackbox","origin":"main","prometheus":"monitoring/prom-0","service":"t{number}","severity":"critical","site":"s{number}"}},"annotations":{{"description":"probe_success has been 0 for 1m","runbook_url":"https://runbooks.example.net/origin-down","summary":"Origin main of s{number} is down"}},"startsAt":"2026-11-27T18:31:34.043Z","endsAt":"{}","generatorURL":"http://prometheus.example.net:9090/graph?g0.expr=probe_success%7Bsite%3D%22s{number}%22%7D+%3D%3D+0\u0026g0.tab=1""#,
        number % 250,
        "0001-01-01T00:00:00Z",
    )
}

/// A webhook with the alerts of these sites.
pub fn webhook(sites: impl Iterator<Item = usize>) -> String {
    let alerts: Vec<_> = sites
        .map(|site| {
            format!(
                r#"{{"status":"firing",{},"fingerprint":"f7a9e14d{site:08x}"}}"#,
                shared(site)
            )
        })
        .collect();
    format!(
        r#"{{"receiver":"originswitch","status":"firing","alerts":[{}],"groupLabels":{{"alertname":"OriginDown"}},"commonLabels":{{"alertname":"OriginDown","job":"blackbox","origin":"main","severity":"critical"}},"commonAnnotations":{{"description":"probe_success has been 0 for 1m"}},"externalURL":"http://alertmanager.example.net:9093","version":"4","groupKey":"{{}}:{{alertname=\"OriginDown\"}}","truncatedAlerts":0}}"#,
        alerts.join(",")
    )
}

/// The same alerts for Alertmanager's own `/api/v2/alerts`.
pub fn posted(sites: impl Iterator<Item = usize>) -> String {
    let alerts: Vec<_> = sites.map(|site| format!("{{{}}}", shared(site))).collect();
    format!("[{}]", alerts.join(","))
}
