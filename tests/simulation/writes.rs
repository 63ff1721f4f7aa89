//! What is checked when a write is sent: that it was earned, that nothing
//! stood against it, and that it can be proven later.

use super::incident::Wish;
use super::judge::{Broken, Found, Judge};
use super::orders::PIN;
use super::play::Held;
use super::site::{Asked, Row, Sent, Site};
use super::sky::Sky;
use crate::world::{Disk, Mood, WriteFate, ms, secs};
use originswitch::rule::Stance;
use originswitch::rule::decision::{Decision, Reason};
use originswitch::rule::walk::SwitchKind;
use std::sync::Arc;
use std::time::Duration;

/// How long after its decision a write may be sent: two reads may each take as
/// long as all calls of a decision together, and the disk some moments.
const SENT_WITHIN: Duration = Duration::from_secs(35);

/// A write as it is judged.
pub struct Case {
    pub at: Duration,
    pub write: usize,
    /// What the loop saw the records hold when it decided.
    pub from: Held,
    pub to: usize,
    /// Its row, and the decision in it.
    pub row: Option<(usize, Arc<Decision>)>,
}

impl Case {
    /// Whether a person's pin may be why it is sent.
    pub fn may_be_pinned(&self, truth: &Site) -> bool {
        match self.reason() {
            Some(reason) => reason == PIN,
            None => truth.orders.may_pin(self.to, false),
        }
    }

    /// Why it is sent, as its row says.
    pub fn reason(&self) -> Option<Reason> {
        self.row.as_ref().map(|(_, decision)| decision.reason)
    }
}

/// What a decision at one time could rest on.
#[derive(Debug, Clone)]
pub struct Ground {
    pub decided: Duration,
    /// Since when probes belong to the confirmation.
    pub since: Duration,
    pub target_up: bool,
    pub current_up: bool,
    pub current_down: bool,
}

impl Judge<'_> {
    /// A write is sent.
    pub fn wrote(&mut self, site: usize, write: usize, at: Duration) -> Found {
        let case = match self.case(site, write, at) {
            Ok(case) => case,
            Err(found) => return Some(found),
        };
        let ground = self.ground(site, &case);
        let since = ground.as_ref().map(|ground| ground.since);
        let found = self
            .as_it_was_read(site, &case)
            .or_else(|| self.nothing_but_content(site, &case))
            .or_else(|| self.earned(site, &case, ground.as_ref()))
            .or_else(|| self.not_twice(site, &case))
            .or_else(|| self.proven(site, &case, ground.as_ref()))
            .or_else(|| self.within_budget(site, &case, ground.as_ref()))
            .or_else(|| self.intended(site, &case))
            .or_else(|| self.not_frozen(site, &case))
            .or_else(|| self.not_held(site, &case, ground.as_ref()));
        let truth = &mut self.sites[site];
        if let Some((row, _)) = &case.row {
            truth.rows[*row].write = Some(write);
        }
        truth.writes.push(Sent {
            at,
            since,
            boot: truth.boot_number(),
            from: case.from,
            to: case.to,
            row: case.row.map(|(row, _)| row),
            acted: None,
            answered: None,
        });
        truth.progress.stir(at);
        found
    }

    fn case(&self, site: usize, write: usize, at: Duration) -> Result<Case, Broken> {
        let truth = &self.sites[site];
        let call = &truth.outcome.writes[write];
        if truth.plan.policy().dry_run {
            let what = format!("a dry run writes {}", call.to);
            return Err(("7: a dry run writes nothing", what));
        }
        if call.changes.is_empty() {
            let what = "a write that changes nothing".into();
            return Err(("4: deciding again changes nothing", what));
        }
        let mut places = truth.plan.places.iter().map(ToString::to_string);
        let to = places.position(|place| place == call.to).ok_or_else(|| {
            (
                "1: never to an origin that was not seen up",
                call.to.clone(),
            )
        })?;
        let matches = |row: &Row| {
            let goal = row
                .decision
                .to
                .as_ref()
                .map(|to| &*to.address == call.to.as_str());
            row.sent
                && row.write.is_none()
                && row.applied.is_none()
                && row.boot == truth.boot_number()
                && goal == Some(true)
                && at - row.stored - self.lost(row.stored, at) < SENT_WITHIN
        };
        let row = truth.rows.iter().rposition(matches);
        let seen = truth
            .read
            .map(|(_, version)| truth.outcome.versions[version]);
        Ok(Case {
            at,
            write,
            from: seen.unwrap_or(Held::Odd),
            to,
            row: row.map(|row| (row, truth.rows[row].decision.clone())),
        })
    }

    /// No write without a fresh read of one clear record.
    fn as_it_was_read(&self, site: usize, case: &Case) -> Found {
        const LAW: &str = "9: no write but on a fresh read";
        let truth = &self.sites[site];
        let Some((read, version)) = truth.read else {
            return Some((LAW, "nothing was read".into()));
        };
        if case.from == Held::Odd {
            return Some((LAW, "the records read are missing or doubled".into()));
        }
        if let Some((_, decision)) = &case.row {
            let decided = self.moment(decision.time, case.at);
            if decided.is_some_and(|decided| read < decided) {
                let what = format!("decided at {decided:?}, but last read at {read:?}");
                return Some((LAW, what));
            }
            let saw = decision.record.as_ref().map(|at| at.address.to_string());
            let holds = self.address(site, case.from);
            if saw != holds {
                let what = format!("decided for {saw:?}, but the records hold {holds:?}");
                return Some((LAW, what));
            }
        }
        if case.from == Held::At(case.to) && truth.version == version {
            return Some((
                "9: never a second switch",
                "the records hold that already".into(),
            ));
        }
        None
    }

    fn address(&self, site: usize, held: Held) -> Option<String> {
        match held {
            Held::At(number) => Some(self.sites[site].plan.address(number).to_string()),
            Held::Odd => None,
        }
    }

    fn nothing_but_content(&self, site: usize, case: &Case) -> Found {
        let call = &self.sites[site].outcome.writes[case.write];
        // Somebody may have deleted it since it was read.
        let deleted =
            |fault: &&String| fault.starts_with("no record") && !self.sites[site].edits.is_empty();
        let faults: Vec<_> = call.faults.iter().filter(|fault| !deleted(fault)).collect();
        if faults.is_empty() && call.changes.len() == self.sites[site].plan.site.hostnames.len() {
            return None;
        }
        let what = format!("{} changes, {faults:?}", call.changes.len());
        Some(("8: nothing but content is sent", what))
    }

    /// What the decision rested on: at the time its row says, or, where the
    /// disk took no row, at any time that would have justified it.
    fn ground(&self, site: usize, case: &Case) -> Option<Ground> {
        if let Some((_, decision)) = &case.row
            && let Some(decided) = self.moment(decision.time, case.at)
        {
            return Some(self.ground_at(site, case, decided));
        }
        let from = case.at.saturating_sub(SENT_WITHIN);
        let landings = self.landings(site, from, case.at);
        let grounds = landings.map(|at| self.ground_at(site, case, at));
        let truth = &self.sites[site];
        let mut earned: Vec<Ground> = grounds.filter(|ground| ground.target_up).collect();
        // Without a row it can only be a flight.
        let flight = earned.iter().position(|ground| ground.current_down);
        let pin = || case.may_be_pinned(truth).then_some(0);
        let mains = truth.orders.mains();
        let home = |ground: &Ground| mains.contains(&case.to) && ground.current_up;
        let index = flight
            .or_else(|| earned.iter().position(home))
            .or_else(pin)
            .filter(|&index| index < earned.len())?;
        Some(earned.swap_remove(index))
    }

    /// The times at which results came in.
    fn landings(
        &self,
        site: usize,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = Duration> + use<> {
        let truth = &self.sites[site];
        let numbers = 0..truth.probers.len();
        let probers = numbers.filter_map(|number| truth.prober(number));
        let mut times: Vec<Duration> = probers
            .flat_map(|prober| self.shots[prober].landings(from, to))
            .collect();
        times.push(to);
        times.into_iter()
    }

    fn ground_at(&self, site: usize, case: &Case, decided: Duration) -> Ground {
        let truth = &self.sites[site];
        let since = self.confirming_since(site, decided);
        let limits = truth.limits();
        let shots = |number: usize| truth.prober(number).map(|prober| &self.shots[prober]);
        let up = |number| shots(number).is_some_and(|shots| shots.up(decided, since, limits));
        let current = match case.from {
            Held::At(number) => Some(number),
            Held::Odd => None,
        };
        let patient = if self.may_fire(site, decided) {
            Duration::ZERO
        } else {
            truth.plan.policy().confirm_for
        };
        let outage = current
            .and_then(shots)
            .and_then(|shots| shots.down(decided, since, limits));
        Ground {
            decided,
            since,
            target_up: up(case.to),
            current_up: current.is_some_and(up),
            current_down: outage.is_some_and(|outage| outage.span >= patient),
        }
    }

    /// Since when the probes belong to the confirmation that decided at `at`:
    /// since they came close to each other, all over the site; since the last
    /// time that was not watched; and since the last write.
    fn confirming_since(&self, site: usize, at: Duration) -> Duration {
        let truth = &self.sites[site];
        let apart = truth.plan.policy().confirm_interval + ms(2);
        let configured = 0..truth.plan.places.len();
        let shots = configured.filter_map(|number| Some(&self.shots[truth.prober(number)?]));
        let close = shots
            .clone()
            .filter_map(|shots| shots.close_since(at, apart, |from, to| self.lost(from, to)));
        let gaps = shots.filter_map(|shots| shots.last_gap(at));
        let boot = truth.boot_number();
        let writes = truth.writes.iter().filter(|sent| sent.boot == boot);
        close
            .chain(gaps)
            .chain(writes.map(|sent| sent.at))
            .max()
            .unwrap_or(at)
    }

    /// Whether an alert may count as firing, however its age is counted.
    fn may_fire(&self, site: usize, at: Duration) -> bool {
        self.sites[site].alarms.may_fire(at, |received| {
            let set = self.offsets.iter().filter(|set| set.0 >= received).count();
            let a_look = self.sites[site].plan.interval() + secs(30);
            let forgiven = a_look * u32::try_from(set).unwrap();
            self.incident.ttl + forgiven + self.lost(received, at)
        })
    }

    /// Laws 1 to 3 and 5: what the probes of the confirmation had found.
    fn earned(&self, site: usize, case: &Case, ground: Option<&Ground>) -> Found {
        let orders = &self.sites[site].orders;
        let pins = case.may_be_pinned(&self.sites[site]);
        if pins && orders.may_pin(case.to, true) {
            return None;
        }
        let Some(ground) = ground else {
            let what = "at no time could it have been decided".into();
            return Some(("1, 2: every switch is earned", what));
        };
        if !ground.target_up {
            let what = format!("{ground:?}");
            return Some(("1: never to an origin that was not seen up", what));
        }
        if pins && orders.may_pin(case.to, false) {
            return None;
        }
        let reason = case.reason();
        let (flees, returns) = match reason {
            Some(Reason::Switch(SwitchKind::Failover)) => (true, false),
            Some(Reason::Switch(SwitchKind::Failback)) => (false, true),
            Some(_) => (false, false),
            None => (true, true),
        };
        let home = orders.mains().contains(&case.to) && ground.current_up;
        if (flees && ground.current_down) || (returns && home) {
            return None;
        }
        let law = match (ground.current_up, ground.current_down) {
            (true, false) => "2: never leave an origin that is up, but for MAIN",
            (false, false) => "3: in doubt nothing changes",
            (_, true) => "2: a switch says why it is made",
        };
        Some((law, format!("{reason:?} {ground:?}")))
    }

    /// Law 4: while nothing changes, one switch is enough.
    fn not_twice(&self, site: usize, case: &Case) -> Found {
        let truth = &self.sites[site];
        // What people order ends at its time, and then it moves again.
        if truth.orders.first().is_some() {
            return None;
        }
        let last = truth.writes.last()?;
        let since = last.since?;
        let steady = |(_, mood): &(Duration, Mood)| {
            matches!(
                mood,
                Mood::Up | Mood::Refusing | Mood::Swallowing | Mood::Hanging
            )
        };
        let acts = truth.writes.iter().filter_map(|sent| sent.acted);
        let settled = last.acted.is_some()
            && last.acted == acts.max()
            && last.answered == Some(WriteFate::Applied)
            && truth.moods.iter().all(steady)
            && self.sky == Sky::Clear
            && self.sky_since < since
            && self.stirred < since;
        // From an address that is not configured the way may lead over a BACKUP.
        let foreign = last.from == Held::At(truth.plan.places.len());
        if !settled || foreign {
            return None;
        }
        let what = format!(
            "nothing changed since {:?}, when it was switched from {:?} to {}; now to {}",
            self.stirred, last.from, last.to, case.to
        );
        Some(("4: deciding again changes nothing", what))
    }

    /// An origin that was never seen up is not left, and an address that is not
    /// configured only where the policy says so.
    fn proven(&self, site: usize, case: &Case, ground: Option<&Ground>) -> Found {
        if case.may_be_pinned(&self.sites[site]) {
            return None;
        }
        let truth = &self.sites[site];
        let policy = truth.plan.policy();
        let Held::At(from) = case.from else {
            return None;
        };
        if from == truth.plan.places.len() {
            let what = "the records held an address that is not configured".into();
            let held = policy.unknown_origin == Stance::Hold;
            return held.then_some(("7: unknown_origin holds", what));
        }
        let seen = truth.probers[from]
            .iter()
            .any(|&prober| self.shots[prober].ever_up);
        let trusted = truth.asked.iter().any(|asked| asked.wish == Wish::Trust);
        if !policy.require_proof || seen || trusted {
            return None;
        }
        Some((
            "7: unproven holds",
            format!("{from} was never seen up; {ground:?}"),
        ))
    }

    /// Law 6: what the window holds, and that a return spares one.
    fn within_budget(&self, site: usize, case: &Case, ground: Option<&Ground>) -> Found {
        // A person's pin is not counted.
        if case.may_be_pinned(&self.sites[site]) {
            return None;
        }
        let truth = &self.sites[site];
        let policy = truth.plan.policy();
        // Without a row nobody knows when it was decided.
        let decided = match (&case.row, ground) {
            (Some(_), Some(ground)) => ground.decided,
            _ => case.at,
        };
        let window = policy.switch_window;
        let counted = truth.writes.iter().filter(|sent| {
            self.counts(site, sent, decided)
                .is_some_and(|age| age < window)
        });
        let returns = ground.is_some_and(|ground| !ground.current_down);
        let spent = counted.count() + 1 + usize::from(returns);
        let most = usize::try_from(policy.max_switches).unwrap();
        let what = format!("{spent} of {most} within {window:?}, the one to spare counted");
        (spent > most).then_some(("6: no more switches than the budget", what))
    }

    /// The age of a switch that must be counted, as the loop that runs knows it.
    fn counts(&self, site: usize, sent: &Sent, now: Duration) -> Option<Duration> {
        let truth = &self.sites[site];
        sent.acted?;
        let pinned = match sent.row {
            Some(row) => truth.rows[row].decision.reason == PIN,
            None => truth.orders.first().is_some(),
        };
        if pinned {
            return None;
        }
        // A later process goes by what the wall clock showed.
        let shown = |at: Duration| i64::try_from(at.as_millis()).unwrap() + self.offset_at(at);
        let earlier = sent.boot != truth.boot_number();
        let after = |at| at >= sent.at || (earlier && shown(at) >= shown(sent.at));
        let released =
            |asked: &&Asked| asked.wish == Wish::Release && asked.replied.is_none_or(after);
        if truth.asked.iter().any(|asked| released(&asked)) {
            return None;
        }
        if sent.boot == truth.boot_number() {
            // One of unknown outcome is given up when another takes its place.
            // One into a record that somebody just deleted did nothing.
            let told = sent.row.and_then(|row| truth.rows[row].applied);
            let known = told.unwrap_or(sent.answered == Some(WriteFate::Applied));
            let age = now.saturating_sub(sent.at) + ms(1);
            return known.then_some(age);
        }
        let row = &truth.rows[sent.row?];
        let began = truth.boots.last()?.0;
        // Stored before the loop that runs began, it goes by the wall clock.
        let then = self.moment(row.decision.time, sent.at)?;
        let set = self.offset_at(began) - self.offset_at(then);
        let shown = i64::try_from((began - then).as_millis()).unwrap() + set;
        let shown = Duration::from_millis(u64::try_from(shown).unwrap_or(0));
        let counted = row.stored < began && row.applied != Some(false);
        counted.then(|| shown + (now - began) + ms(1))
    }

    fn offset_at(&self, at: Duration) -> i64 {
        let past = self.offsets.iter().rfind(|offset| offset.0 <= at);
        past.map_or(0, |offset| offset.1)
    }

    /// Law 9: the intent is stored before the write. A flight goes on without
    /// it where the disk refuses.
    fn intended(&self, site: usize, case: &Case) -> Found {
        let truth = &self.sites[site];
        let fine = truth.disk == Disk::Fine
            && truth
                .trouble
                .is_none_or(|trouble| case.at - trouble > secs(1));
        let intent = "9: the intent is stored before the write";
        (case.row.is_none() && fine).then(|| (intent, "there is no row".into()))
    }
}
