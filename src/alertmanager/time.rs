//! The forms in which senders write a start time.

use jiff::Timestamp;

/// Reads a start time: RFC 3339 with any offset and up to nine fractional
/// digits, or what Go's `time.Time.String()` writes. Anything else is `None`,
/// and so is Go's zero time: an unknown start only costs the ordering of late
/// copies, so it is no reason to refuse an alert.
///
/// Cut to the millisecond. Alertmanager's API knows no finer time, so an alert
/// that began at 34.043590 is resolved through it with a start of 34.043
/// (0.25, captured), and would else be taken for an older one that came late.
pub(super) fn lenient_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let time = text.parse().ok().or_else(|| go_time(text))?;
    // The first day of year 1, whatever its offset.
    let zero = Timestamp::constant(-62_135_510_400, 0);
    let millisecond = (time > zero).then_some(time.as_millisecond())?;
    Timestamp::from_millisecond(millisecond).ok()
}

/// `2026-11-22 18:44:44.478 +0000 UTC`, perhaps with ` m=+0.01` behind it: what
/// a hand-made template such as Amazon's prints for `{{ .StartsAt }}`.
fn go_time(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let (date, time, offset) = (words.next()?, words.next()?, words.next()?);
    format!("{date}T{time}{offset}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_a_sender_uses_is_read() {
        let same = [
            "2026-11-22T18:44:44Z",
            "2026-11-22T18:44:44.0Z",
            "2026-11-22T18:44:44.000000000Z",
            "2026-11-23T03:44:44+09:00",
            "2026-11-22t13:14:44-05:30",
            "2026-11-22 18:44:44 +0000 UTC",
            "2026-11-22 19:44:44 +0100 CET m=+0.012345",
            " 2026-11-22T18:44:44Z\n",
        ];
        let expected: Timestamp = "2026-11-22T18:44:44Z".parse().unwrap();
        for text in same {
            assert_eq!(lenient_time(text), Some(expected), "{text}");
        }
        let nanoseconds = lenient_time("2026-01-02T03:04:05.123456789+09:00").unwrap();
        assert_eq!(nanoseconds.to_string(), "2026-01-01T18:04:05.123Z");
        let spaced = lenient_time("2026-11-22 18:44:44.478 +0000 UTC").unwrap();
        assert_eq!(spaced.as_millisecond(), expected.as_millisecond() + 478);
    }

    #[test]
    fn what_is_no_time_is_none() {
        let none = [
            "",
            "yesterday",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "0001-01-01 00:00:00 +0000 UTC",
            "2026-11-22",
            "2026-11-22T18:44:44",
            "2026-13-40T99:99:99Z",
            "99999999999999999999999-01-01T00:00:00Z",
            "1763837084",
        ];
        for text in none {
            assert_eq!(lenient_time(text), None, "{text}");
        }
    }
}
