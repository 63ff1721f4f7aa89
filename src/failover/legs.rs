//! A site's probers, joined to one answer for each origin.
//!
//! An origin has a leg for each of its addresses. It is up when all its legs
//! are; a family that fails on every origin of the site says more about us
//! than about them, and is left out while it does. (A host without IPv6 does
//! not get so far as to see it fail: that it cannot be told is the same here.)

use crate::clock::Clock;
use crate::config::{Origin, ProbeSettings, Site};
use crate::metrics::SiteMetrics;
use crate::prober::{Pace, Probe, Prober, Reins, Rounds, Schedule};
use crate::rule::address::{Address, Place, RecordType, Role};
use crate::rule::decision::{OriginView, Pointer, Probed};
use crate::rule::finding::{Observation, Verdict};
use crate::rule::health::{Answer, State, Thresholds};
use crate::rule::{Moment, Policy};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Makes the probe of an address.
pub type MakeProbe = Arc<dyn Fn(&Address, &Arc<ProbeSettings>) -> Arc<dyn Probe> + Send + Sync>;

/// Makes the probe that looks at a site through the edge.
pub type MakeEdgeProbe = Arc<dyn Fn(&Site) -> Arc<dyn Probe> + Send + Sync>;

/// What it takes to start probers.
#[derive(Clone)]
pub struct Lookout {
    /// Makes the probe of an address.
    pub make: MakeProbe,
    /// Makes the probe that looks at a site through the edge.
    pub edge: MakeEdgeProbe,
    /// What all probers share.
    pub rounds: Rounds,
}

/// One address of one origin, with its prober.
struct Leg {
    kind: RecordType,
    reins: Reins,
}

/// One origin with its legs.
pub(super) struct Watched {
    pub(super) at: Pointer,
    pub(super) place: Place,
    pub(super) fingerprint: String,
    legs: Vec<Leg>,
    /// How often it had gone down, and come up, when a confirmation last ended.
    confirmed: (u64, u64),
}

/// What one leg answers.
#[derive(Debug, Clone, Copy)]
struct Said {
    kind: RecordType,
    answer: Answer,
    /// Whether its probes do not get through, be it their fault or ours.
    fails: bool,
}

/// Which probes answer: those of a confirmation, or all of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evidence {
    /// The health machines.
    Routine,
    /// The probes of this confirmation; failures of the current origin span
    /// `span`, and `settled` turns what is still pending into unknown.
    Trial {
        number: u64,
        span: Duration,
        settled: bool,
    },
}

impl Lookout {
    /// Starts the probers of an origin.
    #[expect(
        clippy::too_many_arguments,
        reason = "two callers, which pass what they hold"
    )]
    pub(super) fn watch(
        &self,
        role: Role,
        origin: &Origin,
        policy: &Policy,
        site: &Arc<Notify>,
        metrics: &Arc<SiteMetrics>,
        pace: Pace,
        spread: u64,
    ) -> Watched {
        let legs = origin
            .place
            .addresses()
            .iter()
            .zip(0u64..)
            .map(|(address, nth)| {
                let schedule = schedule(&origin.probe, policy, spread.wrapping_add(nth));
                let prober = Prober {
                    probe: (self.make)(address, &origin.probe),
                    schedule,
                    site: site.clone(),
                    witness: metrics.witness(role),
                };
                Leg {
                    kind: address.kind(),
                    reins: prober.start(&self.rounds, pace),
                }
            })
            .collect();
        Watched {
            at: Pointer {
                role,
                address: origin.place.to_string().into(),
            },
            place: origin.place.clone(),
            fingerprint: origin.probe.fingerprint(&origin.place),
            legs,
            confirmed: (0, 0),
        }
    }
}

/// Where in the interval a prober's slots lie: a fixed fraction for each
/// number, far from that of its neighbours (the golden ratio does that).
pub(super) fn schedule(probe: &ProbeSettings, policy: &Policy, number: u64) -> Schedule {
    let interval = u64::try_from(probe.interval.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    let fraction = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let offset = (u128::from(fraction) * u128::from(interval)) >> 64;
    Schedule {
        interval: probe.interval,
        confirm_interval: policy.confirm_interval,
        timeout: probe.timeout,
        offset: Duration::from_nanos(u64::try_from(offset).unwrap_or(0)),
        limits: Thresholds {
            fall: policy.fall,
            rise: policy.rise,
        },
    }
}

impl Leg {
    /// Whether its newest probe, if that started after `since`, is a failure
    /// where it is up, or a success where it is down and somebody waits for it.
    fn contradicts(&self, since: Moment, waited_for: bool) -> bool {
        let report = self.reins.report();
        let Some(newest) = &report.newest else {
            return false;
        };
        let verdict = newest.finding.verdict();
        newest.started > since
            && match report.state {
                State::Up => verdict == Verdict::Down,
                State::Down => waited_for && verdict == Verdict::Up,
                State::Unknown => verdict == Verdict::Down,
            }
    }
}

impl Watched {
    /// Sets the pace of its probers.
    pub(super) fn set_pace(&self, pace: Pace) {
        for leg in &self.legs {
            leg.reins.set_pace(pace);
        }
    }

    /// Whether every leg's first probe has answered or failed.
    pub(super) fn probed(&self) -> bool {
        self.legs
            .iter()
            .all(|leg| leg.reins.report().newest.is_some())
    }

    /// Gaps in observation so far, over its legs.
    pub(super) fn gaps(&self) -> u64 {
        self.legs.iter().map(|leg| leg.reins.report().gaps).sum()
    }

    /// When it was last heard of: the end of its newest probe.
    pub(super) fn heard(&self) -> Option<Moment> {
        let reports = self.legs.iter().map(|leg| leg.reins.report());
        reports
            .filter_map(|report| Some(report.newest.as_ref()?.finished))
            .max()
    }

    /// How often one of its legs has gone down so far.
    pub(super) fn downs(&self) -> u64 {
        self.legs.iter().map(|leg| leg.reins.report().downs).sum()
    }

    /// Whether one of its probes waits for a place among others.
    pub(super) fn waits(&self) -> bool {
        self.legs.iter().any(|leg| leg.reins.waits())
    }

    fn ups(&self) -> u64 {
        self.legs.iter().map(|leg| leg.reins.report().ups).sum()
    }

    /// A confirmation has ended.
    pub(super) fn confirmed(&mut self) {
        self.confirmed = (self.downs(), self.ups());
    }

    /// Whether there is something to confirm: since a confirmation ended it
    /// went down or (where somebody waits for it) came up, be it with a single
    /// probe or with several at once; or a probe that started after `since`
    /// contradicts what is believed.
    pub(super) fn doubted(&self, since: Moment, waited_for: bool) -> bool {
        let (downs, ups) = self.confirmed;
        self.downs() != downs
            || (waited_for && self.ups() != ups)
            || self
                .legs
                .iter()
                .any(|leg| leg.contradicts(since, waited_for))
    }

    fn answers(&self, evidence: Evidence, limits: Thresholds, current: bool) -> Vec<Said> {
        self.legs
            .iter()
            .map(|leg| {
                let report = leg.reins.report();
                let answer = match evidence {
                    Evidence::Routine => report.state.into(),
                    Evidence::Trial {
                        number,
                        span,
                        settled,
                    } => {
                        let span = if current { span } else { Duration::ZERO };
                        let answer = if report.trial.0 == number {
                            report.trial.1.answer(span, limits)
                        } else {
                            Answer::Pending
                        };
                        match answer {
                            Answer::Pending if settled => Answer::Unknown,
                            answer => answer,
                        }
                    }
                };
                Said {
                    kind: leg.kind,
                    answer,
                    fails: match answer {
                        Answer::Down => true,
                        // Probed in vain, and not merely not probed yet.
                        Answer::Unknown => report
                            .newest
                            .as_ref()
                            .is_some_and(|o| o.finding.verdict() == Verdict::Unknown),
                        Answer::Up | Answer::Pending => false,
                    },
                }
            })
            .collect()
    }

    /// The view of this origin, going by the legs that are not left out.
    fn view(&self, answers: &[Said], left_out: &[RecordType], evidence: Evidence) -> OriginView {
        let included: Vec<_> = answers
            .iter()
            .enumerate()
            .filter(|(_, said)| !left_out.contains(&said.kind))
            .collect();
        let answer = join(included.iter().map(|(_, said)| said.answer));
        // The leg that speaks: the one whose answer became the origin's.
        let speaker = included
            .iter()
            .find(|(_, said)| said.answer == answer)
            .map_or(0, |(index, _)| *index);
        let (mut probes, mut failed) = (0, 0);
        let mut reason = String::new();
        for (index, leg) in self.legs.iter().enumerate() {
            let report = leg.reins.report();
            match evidence {
                Evidence::Trial { number, .. } if report.trial.0 == number => {
                    probes += report.trial.1.probes;
                    failed += report.trial.1.failed;
                }
                Evidence::Trial { .. } => {}
                Evidence::Routine => {
                    if let Some(newest) = &report.newest {
                        probes += 1;
                        failed += u32::from(newest.finding.verdict() == Verdict::Down);
                    }
                }
            }
            // What is down is not explained by a success that came since.
            let telling = match answer {
                Answer::Down => report.failure.as_ref().or(report.newest.as_ref()),
                Answer::Up | Answer::Unknown | Answer::Pending => report.newest.as_ref(),
            };
            if index == speaker
                && let Some(telling) = telling
            {
                reason = if self.legs.len() > 1 {
                    format!("{}: {}", family(leg.kind), telling.finding)
                } else {
                    telling.finding.to_string()
                };
            }
        }
        let states = included
            .iter()
            .map(|(index, _)| self.legs[*index].reins.report().state.into());
        OriginView {
            at: self.at.clone(),
            answer,
            known: join(states).into(),
            reason,
            probes,
            failed,
            evidence: Vec::new(),
        }
    }

    /// The probes of the confirmation with this number, in the order in which
    /// they started.
    pub(super) fn recorded(&self, trial: u64, clock: &Clock) -> Vec<Probed> {
        let mut seen: Vec<(RecordType, Arc<Observation>)> = Vec::new();
        for leg in &self.legs {
            let report = leg.reins.report();
            if report.trial.0 == trial {
                seen.extend(report.recorded.iter().map(|one| (leg.kind, one.clone())));
            }
        }
        seen.sort_by_key(|(_, one)| one.started);
        let several = self.legs.len() > 1;
        let probed = |(kind, one): (RecordType, Arc<Observation>)| Probed {
            started: clock.timestamp(one.started),
            took: one.finished.since(one.started),
            verdict: one.finding.verdict(),
            reason: if several {
                format!("{}: {}", family(kind), one.finding)
            } else {
                one.finding.to_string()
            },
            phases: one.phases,
        };
        seen.into_iter().map(probed).collect()
    }
}

fn family(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "ipv4",
        RecordType::Aaaa => "ipv6",
        RecordType::Cname => "name",
    }
}

/// An origin is down if a leg is, up if all are.
fn join(answers: impl Iterator<Item = Answer> + Clone) -> Answer {
    let any = |wanted| answers.clone().any(|answer| answer == wanted);
    if any(Answer::Down) {
        Answer::Down
    } else if any(Answer::Pending) {
        Answer::Pending
    } else if any(Answer::Unknown) || !any(Answer::Up) {
        Answer::Unknown
    } else {
        Answer::Up
    }
}

/// The families that fail on every origin, unless those are all there are.
fn left_out(origins: &[Vec<Said>]) -> Vec<RecordType> {
    let Some(first) = origins.first() else {
        return Vec::new();
    };
    let fails = |kind: RecordType| {
        origins
            .iter()
            .flatten()
            .filter(|said| said.kind == kind)
            .all(|said| said.fails)
    };
    let failing: Vec<RecordType> = first
        .iter()
        .map(|said| said.kind)
        .filter(|&kind| fails(kind))
        .collect();
    if failing.len() == first.len() {
        Vec::new()
    } else {
        failing
    }
}

/// The views of the configured origins, and of the foreign address if there is
/// one. `current` is the index of the one the record holds; the foreign
/// address, if given, is always current.
pub(super) fn views(
    origins: &[Watched],
    other: Option<&Watched>,
    current: Option<usize>,
    evidence: Evidence,
    limits: Thresholds,
) -> Vec<OriginView> {
    let answers: Vec<_> = origins
        .iter()
        .enumerate()
        .map(|(index, origin)| origin.answers(evidence, limits, current == Some(index)))
        .collect();
    let left_out = left_out(&answers);
    let mut views: Vec<OriginView> = origins
        .iter()
        .zip(&answers)
        .map(|(origin, answers)| origin.view(answers, &left_out, evidence))
        .collect();
    if let Some(other) = other {
        let answers = other.answers(evidence, limits, true);
        views.push(other.view(&answers, &left_out, evidence));
    }
    views
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Down, Pending, Unknown, Up};
    use RecordType::{A, Aaaa};

    #[test]
    fn an_origin_is_up_when_all_its_families_are() {
        for (legs, joined) in [
            (&[Up, Up][..], Up),
            (&[Up, Down], Down),
            (&[Up, Pending], Pending),
            (&[Pending, Down], Down),
            (&[Up, Unknown], Unknown),
            (&[], Unknown),
        ] {
            assert_eq!(join(legs.iter().copied()), joined, "{legs:?}");
        }
    }

    #[test]
    fn a_family_that_fails_everywhere_is_left_out_unless_everything_fails() {
        let said = |kind, answer| Said {
            kind,
            answer,
            fails: matches!(answer, Down | Unknown),
        };
        let site = |main: [Answer; 2], backup: [Answer; 2]| {
            left_out(&[
                vec![said(A, main[0]), said(Aaaa, main[1])],
                vec![said(A, backup[0]), said(Aaaa, backup[1])],
            ])
        };
        assert_eq!(site([Up, Down], [Up, Down]), [Aaaa]);
        assert_eq!(site([Down, Down], [Up, Down]), [Aaaa]);
        assert_eq!(site([Up, Unknown], [Up, Unknown]), [Aaaa]);
        assert_eq!(site([Down, Unknown], [Up, Down]), [Aaaa]);
        assert!(site([Up, Down], [Up, Up]).is_empty());
        assert!(site([Up, Down], [Up, Pending]).is_empty());
        assert!(site([Down, Down], [Down, Down]).is_empty());
        assert!(left_out(&[vec![said(A, Down)], vec![said(A, Down)]]).is_empty());
    }
}
