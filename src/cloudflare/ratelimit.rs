//! `Ratelimit: "default";r=50;t=30` and `Ratelimit-Policy: "default";q=1200;w=300`:
//! what an answer tells of Cloudflare's windows. Both are lists.

use std::time::Duration;

/// Items of this name are believed without a policy that names them.
const DEFAULT: &str = "default";

/// One window, as an answer tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    /// Calls left in it.
    pub(super) left: u64,
    /// Until it begins anew.
    pub(super) resets: Duration,
    /// Calls in it altogether.
    pub(super) quota: Option<u64>,
    /// Its length.
    pub(super) window: Option<Duration>,
}

/// The windows that both headers together tell of.
pub(super) fn items(limit: &str, policy: &str) -> Vec<Item> {
    let policies: Vec<_> = list(policy).collect();
    let item = |(name, parameters): (String, Vec<(&str, u64)>)| {
        let policy = policies.iter().find(|(its, _)| *its == name);
        if policy.is_none() && name != DEFAULT {
            return None;
        }
        let of_policy = |key| policy.and_then(|(_, parameters)| get(parameters, key));
        Some(Item {
            left: get(&parameters, "r")?,
            resets: Duration::from_secs(get(&parameters, "t")?),
            quota: of_policy("q").filter(|&quota| quota > 0),
            window: of_policy("w").map(Duration::from_secs),
            name,
        })
    };
    list(limit).filter_map(item).collect()
}

/// The names of a list, with their parameters; what is no number is passed over.
fn list(header: &str) -> impl Iterator<Item = (String, Vec<(&str, u64)>)> {
    header.split(',').map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or("").trim_matches('"').to_owned();
        let number = |part: &'_ str| -> Option<u64> {
            let value: u64 = part.parse().ok()?;
            // A day is longer than any window, and no call count is larger.
            Some(value.min(1 << 32))
        };
        let parameters = parts
            .filter_map(|part| part.split_once('='))
            .filter_map(|(key, value)| Some((key, number(value)?)))
            .collect();
        (name, parameters)
    })
}

fn get(parameters: &[(&str, u64)], key: &str) -> Option<u64> {
    let found = parameters.iter().find(|(its, _)| *its == key);
    found.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, left: u64, resets: u64, policy: Option<(u64, u64)>) -> Item {
        Item {
            name: name.into(),
            left,
            resets: Duration::from_secs(resets),
            quota: policy.map(|(quota, _)| quota),
            window: policy.map(|(_, window)| Duration::from_secs(window)),
        }
    }

    #[test]
    fn both_headers_are_lists_and_belong_together_by_name() {
        assert_eq!(
            items(
                "\"burst\";r=9;t=1, \"default\";r=50;t=30",
                "\"default\";q=1200;w=300,\"burst\";q=100;w=60"
            ),
            [
                item("burst", 9, 1, Some((100, 60))),
                item("default", 50, 30, Some((1200, 300)))
            ]
        );
    }

    #[test]
    fn an_item_that_no_policy_names_is_believed_only_if_it_is_the_default() {
        let alone = items("\"default\";r=50;t=30, \"other\";r=1;t=1", "");
        assert_eq!(alone, [item("default", 50, 30, None)]);
    }

    #[test]
    fn nonsense_is_nothing() {
        for header in [
            "",
            "nonsense",
            "\"default\";r=x;t=30",
            "\"default\";r=5",
            ";;,,",
        ] {
            assert_eq!(items(header, "\"default\";q=0;w=0"), [], "{header}");
        }
        let huge = format!("\"default\";r={0};t={0}", u64::MAX);
        assert_eq!(items(&huge, "")[0].left, 1 << 32);
    }
}
