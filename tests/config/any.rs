//! Whatever is written, the answer is a configuration or faults, never a panic.

use super::{load_in, minimal};
use originswitch::config::{KEYS, Kind};
use originswitch::matcher::Matcher;
use proptest::prelude::*;
use tempfile::TempDir;

proptest! {
    #[test]
    fn any_text_is_a_matcher_or_a_sentence(text in r#"[a-z"é\\=!~{ ,|()]{0,12}"#) {
        if let Ok(matcher) = Matcher::parse(&text) {
            let shown = matcher.to_string();
            let again = Matcher::parse(&shown).map(|again| again.to_string());
            prop_assert_eq!(again, Ok(shown));
        }
    }

    #[test]
    fn any_value_of_any_key_is_taken_or_refused(
        n in 0..KEYS.len(),
        text in r#"[a-z0-9é:/.*\-\[\]{}="'%# ]{0,12}"#,
    ) {
        let folder = TempDir::new().unwrap();
        let name = format!("ORIGINSWITCH_{}__{}", KEYS[n].section, KEYS[n].name);
        let secret = KEYS[n].kind == Kind::Secret;
        let text = if secret { format!("hush{text}") } else { text };
        let loaded = load_in(folder.path(), &minimal(""), &[(&name.to_uppercase(), &text)]);
        if let Err(faults) = loaded {
            for fault in faults.iter() {
                prop_assert!(!fault.sentence.is_empty());
            }
            prop_assert!(!secret || !faults.to_string().contains("hush"));
        }
    }

    #[test]
    fn any_origin_and_hostname_is_taken_or_refused(text in r"[a-z0-9é:/.*\-\[\] ]{0,14}") {
        let folder = TempDir::new().unwrap();
        for old in ["192.0.2.10", "www.example.com"] {
            let _ = load_in(folder.path(), &minimal("").replace(old, &text), &[]);
        }
    }
}
