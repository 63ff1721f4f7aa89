//! Alertmanager's matchers: `name="value"`, `!=`, `=~`, `!~`.
//!
//! The syntax is Alertmanager's own, the lenient of its two parsers included:
//! values quoted or bare, an unknown escape kept as it stands (so that
//! `"a\.b"` is the regular expression `a\.b`), names in quotes if they are
//! more than letters, digits and underscores.

use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;

/// What has labels.
pub trait Labelled {
    /// The value of the label with this name.
    fn label(&self, name: &str) -> Option<&str>;
}

impl Labelled for BTreeMap<String, String> {
    fn label(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// One condition on an alert's labels.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    value: String,
    test: Test,
}

/// How the label's value is compared.
#[derive(Debug, Clone)]
enum Test {
    Equal,
    NotEqual,
    Matches(Pattern),
    MatchesNot(Pattern),
}

/// A regular expression, anchored.
#[derive(Debug, Clone)]
enum Pattern {
    /// `www|shop`: a compiled one would take kilobytes, for each site.
    OneOf(Vec<String>),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::OneOf(texts) => texts.iter().any(|one| one == text),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Matcher {
    /// Reads one matcher.
    ///
    /// # Errors
    ///
    /// A sentence that says what to change.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let trimmed = text.trim();
        if trimmed.starts_with('{') {
            return Err(format!(
                "{trimmed:?} is in braces: write each matcher as an entry of its own, without braces"
            ));
        }
        let (name, rest) = name(trimmed)?;
        let (operator, rest) = ["=~", "!~", "!=", "="]
            .into_iter()
            .find_map(|operator| Some((operator, rest.strip_prefix(operator)?)))
            .ok_or_else(|| {
                format!("{trimmed:?} has no `=`, `!=`, `=~` or `!~` after the label's name")
            })?;
        let value = value(rest.trim())?;
        let test = match operator {
            "=" => Test::Equal,
            "!=" => Test::NotEqual,
            "=~" => Test::Matches(anchored(&value)?),
            _ => Test::MatchesNot(anchored(&value)?),
        };
        Ok(Matcher { name, value, test })
    }

    /// Whether the labels meet the condition; a missing label counts as empty.
    #[must_use]
    pub fn matches(&self, labels: &impl Labelled) -> bool {
        let held = labels.label(&self.name).unwrap_or_default();
        match &self.test {
            Test::Equal => held == self.value,
            Test::NotEqual => held != self.value,
            Test::Matches(pattern) => pattern.matches(held),
            Test::MatchesNot(pattern) => !pattern.matches(held),
        }
    }

    /// The label's name and the only values with which it matches, if those can
    /// be told and a missing label is none of them.
    #[must_use]
    pub fn wanted(&self) -> Option<(&str, &[String])> {
        let values = match &self.test {
            Test::Equal => std::slice::from_ref(&self.value),
            Test::Matches(Pattern::OneOf(texts)) => texts,
            _ => return None,
        };
        let some = !values.iter().any(String::is_empty);
        some.then_some((&self.name, values))
    }
}

/// Two matchers are the same condition if they are written the same.
impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        let operator = |matcher: &Matcher| std::mem::discriminant(&matcher.test);
        (&self.name, &self.value) == (&other.name, &other.value)
            && operator(self) == operator(other)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(&self.name) {
            f.write_str(&self.name)?;
        } else {
            quoted(f, &self.name)?;
        }
        f.write_str(match self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Matches(_) => "=~",
            Test::MatchesNot(_) => "!~",
        })?;
        quoted(f, &self.value)
    }
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let escaped = text
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n");
    write!(f, "\"{escaped}\"")
}

/// The label's name, and what follows it.
fn name(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        let end = closing_quote(text)
            .ok_or_else(|| format!("{text:?} lacks the quote that closes the label's name"))?;
        let name = unescape(&text[1..end]);
        if name.is_empty() {
            return Err(format!("{text:?} has no label name before the operator"));
        }
        return Ok((name, text[end + 1..].trim_start()));
    }
    let end = text
        .find(|c: char| c.is_whitespace() || "{}!=~,\\\"'`".contains(c))
        .unwrap_or(text.len());
    if end == 0 {
        return Err(format!("{text:?} has no label name before the operator"));
    }
    Ok((text[..end].to_owned(), text[end..].trim_start()))
}

/// The value, without its quotes and escapes.
fn value(text: &str) -> Result<String, String> {
    let shown = visible(text);
    if !text.starts_with('"') {
        return match first_quote(text) {
            None => Ok(unescape(text)),
            Some(_) => Err(format!(
                r#"the value {shown} holds a bare double quote: write \" and put the value in quotes"#
            )),
        };
    }
    let end = closing_quote(text)
        .ok_or_else(|| format!("the value {shown} lacks its closing double quote"))?;
    if end + 1 < text.len() {
        return Err(format!(
            r#"the value {shown} goes on after its closing quote: write one matcher for each entry, and \" for a quote inside"#
        ));
    }
    Ok(unescape(&text[1..end]))
}

/// Where the quote that opens `text` closes.
fn closing_quote(text: &str) -> Option<usize> {
    first_quote(&text[1..]).map(|at| at + 1)
}

/// The first double quote that is not escaped.
fn first_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let quote = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        quote.then_some(at)
    })
}

/// Resolves `\"`, `\\` and `\n`; any other backslash is kept, as Alertmanager does.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some(c @ ('"' | '\\')) => plain.push(c),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

fn anchored(pattern: &str) -> Result<Pattern, String> {
    if let Some(texts) = alternatives(pattern) {
        return Ok(Pattern::OneOf(texts));
    }
    // Compiled alone first: `a)|(b` would become valid inside the group.
    Regex::new(pattern)
        .and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
        .map(Pattern::Regex)
        .map_err(|error| {
            format!(
                "{pattern:?} is no valid regular expression: {}",
                regex_reason(&error)
            )
        })
}

/// The texts that a pattern such as `www\.example|shop` stands for, if it has
/// nothing else in it.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    const SPECIAL: &str = r".+*?()[]{}^$\|";
    let mut texts = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '|' => {
                texts.push(String::new());
                continue;
            }
            // `\d`, `\n` and the like are more than the letter.
            '\\' => chars.next().filter(|&c| SPECIAL.contains(c))?,
            c if SPECIAL.contains(c) => return None,
            c => c,
        };
        texts.last_mut()?.push(literal);
    }
    Some(texts)
}

/// The text with line ends and other control characters written out.
pub(crate) fn visible(text: &str) -> String {
    let written = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(written).collect()
}

/// The reason in one line: the crate draws the pattern with an arrow above it.
pub(crate) fn regex_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn matchers_match_as_alertmanagers_do() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(&str, Pairs, bool)] = &[
            (r#"a="b""#, &[("a", "b")], true),
            (r#"a="b""#, &[("a", "B")], false),
            (r#"a="b""#, &[], false),
            ("a=b", &[("a", "b")], true),
            ("a=b c", &[("a", "b c")], true),
            ("  a  =  b  ", &[("a", "b")], true),
            (r#" a = " b " "#, &[("a", " b ")], true),
            (r#"a="""#, &[], true),
            ("a=", &[], true),
            ("a=", &[("a", "x")], false),
            (r#"a!="b""#, &[], true),
            (r#"a!="b""#, &[("a", "b")], false),
            (r#"a!="""#, &[("a", "b")], true),
            (r#"a=~"www|shop""#, &[("a", "shop")], true),
            (r#"a=~"www|shop""#, &[("a", "shop2")], false),
            (r#"a=~"www|shop""#, &[("a", "xwww")], false),
            (r#"a=~"w.*""#, &[("a", "w\nx")], false),
            (r#"a=~"w""#, &[("a", "w\n")], false),
            (r#"a=~"x?""#, &[], true),
            ("a=~www.*", &[("a", "www1")], true),
            (r#"a!~"www|shop""#, &[("a", "shop")], false),
            (r#"a!~"www|shop""#, &[("a", "shop2")], true),
            (r#"a!~".+""#, &[], true),
            (r#"a=~"a\.b""#, &[("a", "a.b")], true),
            (r#"a=~"a\.b""#, &[("a", "axb")], false),
            (r#"a=~"a\\.b""#, &[("a", "a.b")], true),
            (r#"a="x\"y""#, &[("a", "x\"y")], true),
            (r#"a="x\\y""#, &[("a", "x\\y")], true),
            (r#"a="x\ny""#, &[("a", "x\ny")], true),
            (r#"a="x\\""#, &[("a", "x\\")], true),
            (r#"a=="b""#, &[("a", "=\"b\"")], false),
            (r#""foo bar"="x""#, &[("foo bar", "x")], true),
            (r#""foo \"bar\""="x""#, &[("foo \"bar\"", "x")], true),
            (r#""a"=~"x|y""#, &[("a", "y")], true),
            ("größe=klein", &[("größe", "klein")], true),
            (r#"a="🙂""#, &[("a", "🙂")], true),
        ];
        for (text, pairs, expected) in cases {
            match Matcher::parse(text) {
                Ok(matcher) => {
                    assert_eq!(
                        matcher.matches(&labels(pairs)),
                        *expected,
                        "{text} {pairs:?}"
                    );
                    let shown = matcher.to_string();
                    let again = Matcher::parse(&shown).unwrap();
                    assert_eq!(again.to_string(), shown, "{text}");
                    assert_eq!(again.matches(&labels(pairs)), *expected, "{shown}");
                }
                Err(sentence) => assert!(!expected, "{text}: {sentence}"),
            }
        }
    }

    proptest! {
        #[test]
        fn plain_alternatives_match_as_the_regular_expression_does(
            pattern in r"([ab|\-]|\\[.|$\\])([ab|é\-\n]|\\[.|(\\]){0,6}",
            text in r"[ab.|é\-\n\\(]{0,4}",
        ) {
            let texts = alternatives(&pattern);
            let texts = texts.ok_or_else(|| TestCaseError::fail(pattern.clone()))?;
            let regex = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            prop_assert_eq!(texts.contains(&text), regex.is_match(&text));
            for text in &texts {
                prop_assert!(regex.is_match(text));
            }
        }
    }

    #[test]
    fn what_it_wants_is_told_if_nothing_else_matches() {
        let wanted = |text: &str| {
            let matcher = Matcher::parse(text).unwrap();
            matcher
                .wanted()
                .map(|(name, values)| (name.to_owned(), values.join("/")))
        };
        let some = |values: &str| Some(("a".to_owned(), values.to_owned()));
        assert_eq!(wanted("a=b"), some("b"));
        assert_eq!(wanted(r#"a=~"b|c\.d""#), some("b/c.d"));
        let none = [
            "a=", "a!=b", "a=~b.*", "a!~b", "a=~b|", "a=~|b", r#"a=~"""#, r"a=~\d", "a=~[bc]",
            "a=~(b|c)", "a=~^b", r"a=~\bb",
        ];
        for text in none {
            assert_eq!(wanted(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_matcher_says_what_to_change() {
        let cases = [
            ("", r#""" has no label name before the operator"#),
            (
                r#"="b""#,
                r#""=\"b\"" has no label name before the operator"#,
            ),
            (
                r#"""="b""#,
                r#""\"\"=\"b\"" has no label name before the operator"#,
            ),
            (
                r#""a=b"#,
                r#""\"a=b" lacks the quote that closes the label's name"#,
            ),
            (
                "a b",
                r#""a b" has no `=`, `!=`, `=~` or `!~` after the label's name"#,
            ),
            (
                r#"{a="b"}"#,
                r#""{a=\"b\"}" is in braces: write each matcher as an entry of its own, without braces"#,
            ),
            (r#"a="b"#, r#"the value "b lacks its closing double quote"#),
            (
                r#"a="b\""#,
                r#"the value "b\" lacks its closing double quote"#,
            ),
            (
                r#"a=b"c"#,
                r#"the value b"c holds a bare double quote: write \" and put the value in quotes"#,
            ),
            (
                r#"a="b",c="d""#,
                r#"the value "b",c="d" goes on after its closing quote: write one matcher for each entry, and \" for a quote inside"#,
            ),
            (
                "a=\"b\nc",
                r#"the value "b\nc lacks its closing double quote"#,
            ),
            (
                r#"a=~"(""#,
                r#""(" is no valid regular expression: unclosed group"#,
            ),
            (
                r#"a=~"x)|(y""#,
                r#""x)|(y" is no valid regular expression: unopened group"#,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Matcher::parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
