//! The matchers of all sites, found by look-up where that can be.
//!
//! With a matcher such as `service="www"` or `service=~"www|shop"` a site can
//! only be meant by an alert that has one of these values, so the site is kept
//! under them, and tried for no other alert. What no value stands for
//! (`env!="test"`, `service=~"w.*"`) is tried for each alert.

use super::labels::Labels;
use crate::matcher::Matcher;
use std::collections::HashMap;

/// Sites by what their matchers ask for.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Sites that have matchers, with all of them.
    sites: Vec<(usize, Vec<Matcher>)>,
    /// Places in `sites`, by the name and the value of a label.
    keyed: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Places in `sites` of those that have to be tried for every alert.
    others: Vec<usize>,
}

impl Conditions {
    /// Takes the sites that have matchers, by their index.
    pub(super) fn new(sites: Vec<(usize, Vec<Matcher>)>) -> Conditions {
        let mut conditions = Conditions::default();
        let shared = shares(&sites);
        for (place, (_, matchers)) in sites.iter().enumerate() {
            match rarest(matchers, &shared) {
                Some((name, values)) => conditions.keep(name, values, place),
                None => conditions.others.push(place),
            }
        }
        conditions.sites = sites;
        conditions
    }

    fn keep(&mut self, name: &str, values: &[String], place: usize) {
        let by_value = self.keyed.entry(name.to_owned()).or_default();
        for value in values {
            by_value.entry(value.clone()).or_default().push(place);
        }
    }

    /// Adds the sites whose matchers all match; one may come twice.
    pub(super) fn find(&self, labels: &Labels<'_>, sites: &mut Vec<usize>) {
        self.try_all(&self.others, labels, sites);
        if self.keyed.is_empty() {
            return;
        }
        for (name, value) in labels.iter() {
            let kept = self.keyed.get(name).and_then(|values| values.get(value));
            if let Some(places) = kept {
                self.try_all(places, labels, sites);
            }
        }
    }

    fn try_all(&self, places: &[usize], labels: &Labels<'_>, sites: &mut Vec<usize>) {
        for &place in places {
            let (site, matchers) = &self.sites[place];
            if matchers.iter().all(|matcher| matcher.matches(labels)) {
                sites.push(*site);
            }
        }
    }
}

/// How many sites ask for a value of a label.
type Shares<'a> = HashMap<(&'a str, &'a str), usize>;

fn shares(sites: &[(usize, Vec<Matcher>)]) -> Shares<'_> {
    let mut shares = HashMap::new();
    let matchers = sites.iter().flat_map(|(_, matchers)| matchers);
    for (name, values) in matchers.filter_map(Matcher::wanted) {
        for value in values {
            *shares.entry((name, value.as_str())).or_default() += 1;
        }
    }
    shares
}

/// What the fewest sites ask for: all may share `alertname="OriginDown"`, and
/// one of them is `service="www"`.
fn rarest<'a>(matchers: &'a [Matcher], shares: &Shares<'_>) -> Option<(&'a str, &'a [String])> {
    let shared = |name: &str, value: &str| shares.get(&(name, value)).copied();
    matchers
        .iter()
        .filter_map(Matcher::wanted)
        .min_by_key(|(name, values)| values.iter().filter_map(|v| shared(name, v)).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let operator = prop::sample::select(vec!["=", "!=", "=~", "!~"]);
        let value = prop::sample::select(vec![
            "", "x", "y", "x|y", "y|", "x|x|z", ".*", "x.*", "x\\.y", "(x|y)", "[xy]", "x.y",
        ]);
        (name, operator, value).prop_map(|(name, operator, value)| {
            Matcher::parse(&format!("{name}{operator}{value:?}")).unwrap()
        })
    }

    proptest! {
        #[test]
        fn looking_up_finds_what_walking_finds(
            sites in prop::collection::vec(prop::collection::vec(any_matcher(), 1..4), 0..12),
            values in prop::collection::vec(
                prop::option::of(prop::sample::select(vec!["", "x", "y", "z", "x.y", "x|y"])),
                3,
            ),
        ) {
            let labels: Labels = ["a", "b", "c", "d"].into_iter()
                .zip(values.into_iter().chain([Some("x")]))
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let walked: Vec<_> = sites.iter().enumerate()
                .filter(|(_, list)| list.iter().all(|matcher| matcher.matches(&labels)))
                .map(|(site, _)| site)
                .collect();
            let mut found = Vec::new();
            Conditions::new(sites.into_iter().enumerate().collect()).find(&labels, &mut found);
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found, walked);
        }
    }

    #[test]
    fn only_sites_that_ask_for_a_value_of_the_alert_are_tried() {
        let down = Matcher::parse("alertname=OriginDown").unwrap();
        let sites = (0..100).map(|n| {
            let service = format!("service=~\"s{n}|t{n}\"");
            (n, vec![down.clone(), Matcher::parse(&service).unwrap()])
        });
        let conditions = Conditions::new(sites.collect());
        assert_eq!(conditions.others, [0; 0]);
        // Not under the name that they share.
        assert_eq!(conditions.keyed.keys().collect::<Vec<_>>(), ["service"]);
        assert_eq!(conditions.keyed["service"]["t7"], [7]);
        assert_eq!(conditions.keyed["service"].len(), 200);
    }
}
