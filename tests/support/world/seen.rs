//! What a test looks at in a rig: what was written, decided and counted.

use super::{Probed, Rig, WriteCall};
use originswitch::rule::decision::Decision;
use std::time::Duration;

impl Rig {
    /// The writes asked for.
    pub fn writes(&self) -> Vec<WriteCall> {
        self.dns.writes()
    }

    /// When they were asked for, since the world began.
    pub fn write_times(&self) -> Vec<Duration> {
        self.writes().iter().map(|write| write.at).collect()
    }

    /// The stored decisions, oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        let rows = self.store.rows();
        rows.into_iter().map(|row| row.decision).collect()
    }

    /// Their reasons, with the results of switches.
    pub fn reasons(&self) -> Vec<String> {
        self.decisions()
            .iter()
            .map(|decision| match decision.result {
                Some(result) => format!("{} {}", decision.reason.as_str(), result.as_str()),
                None => decision.reason.as_str().to_owned(),
            })
            .collect()
    }

    /// The reason of the newest stored decision.
    pub fn reason(&self) -> String {
        self.reasons().pop().unwrap_or_default()
    }

    /// The stored decisions for a reader of a failed test.
    pub fn story(&self) -> Vec<String> {
        self.decisions()
            .iter()
            .map(|decision| {
                let at = self.at(self.clock.moment_of(decision.time));
                let result = decision.result.map_or("", |result| result.as_str());
                format!(
                    "{:?} {} {} {result}: {}",
                    at,
                    decision.trigger.as_str(),
                    decision.reason.as_str(),
                    decision.explanation
                )
            })
            .collect()
    }

    /// The sum of all series of a metric whose labels contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = String::from_utf8(self.metrics.text()).unwrap();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
                && line.contains(labels)
        });
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        lines.filter_map(value).sum()
    }

    /// The moment the first probe of an origin failed after `since`.
    pub fn first_failure(&self, origin: usize, since: Duration) -> Duration {
        use originswitch::rule::finding::Verdict;
        let log = self.origins.log_of(&self.address(origin));
        let failed = |p: &&Probed| p.verdict == Verdict::Down && self.at(p.started) >= since;
        self.at(log.iter().find(failed).unwrap().started)
    }
}
