//! Durations as they are written: `"500ms"`, `"3s"`, `"1h30m"`.

use std::time::Duration;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Nothing here is meant to last longer, and sums of it must not overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

const EXAMPLES: &str = r#"such as "500ms", "10s", "5m", "1h30m" or "400d""#;

/// Reads a duration: whole numbers with a unit, larger units first, each once.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Err(without_unit(text));
    }
    let bad = || format!("{text:?} is no duration: write one {EXAMPLES}");
    let mut rest = text;
    let mut smaller = &UNITS[..];
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let at = smaller
            .iter()
            .position(|(unit, _)| *unit == &rest[..letters])
            .ok_or_else(bad)?;
        total = number
            .checked_mul(smaller[at].1)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| too_long(text))?;
        smaller = &smaller[at + 1..];
        rest = &rest[letters..];
    }
    match Duration::from_millis(total) {
        _ if text.is_empty() => Err(bad()),
        long if long > LONGEST => Err(too_long(text)),
        fine => Ok(fine),
    }
}

/// What to say to a number that has no unit.
pub(super) fn without_unit(number: impl std::fmt::Display) -> String {
    format!("{number} has no unit: write \"{number}s\" if seconds are meant")
}

fn too_long(text: &str) -> String {
    format!("{text:?} is longer than 100 years: write a duration {EXAMPLES}")
}

/// Writes a duration so that [`parse`] reads it again; exact to a millisecond.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        if left >= size {
            text.push_str(&format!("{}{unit}", left / size));
            left %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        let cases = [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("3s", 3_000, "3s"),
            ("90s", 90_000, "1m30s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1d2h3m4s5ms", 93_784_005, "1d2h3m4s5ms"),
            ("400d", 34_560_000_000, "400d"),
        ];
        for (text, millis, shown) in cases {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(show(duration), shown);
        }
    }

    #[test]
    fn bad_durations_say_what_to_write() {
        let like = r#"such as "500ms", "10s", "5m", "1h30m" or "400d""#;
        for text in [
            "", "s", "-1s", "1.5s", "10 s", "10S", "30m1h", "1s1s", "5min", "é", "1é",
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                format!("{text:?} is no duration: write one {like}")
            );
        }
        assert_eq!(
            parse("10").unwrap_err(),
            r#"10 has no unit: write "10s" if seconds are meant"#
        );
        for text in ["36501d", "99999999999999999d"] {
            assert_eq!(
                parse(text).unwrap_err(),
                format!("{text:?} is longer than 100 years: write a duration {like}")
            );
        }
    }
}
