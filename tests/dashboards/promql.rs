//! Enough of PromQL to see which metrics an expression looks at, and how.
//!
//! That it is PromQL to the last sign is proven in `tests/stack`, where the
//! real Prometheus answers.

/// Words that are followed by labels in parentheses.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "on",
    "without",
];
/// Words between expressions.
const OPERATORS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];
/// What stands between words.
const SIGNS: &str = "+-*/%^=!<>,()[]{}";

/// A metric in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
    /// What stands in the brackets.
    pub range: Option<String>,
    /// The functions and other parentheses around it, the innermost last.
    pub within: Vec<String>,
}

impl Selector {
    /// Whether it has exactly this matcher.
    pub fn has(&self, label: &str, operator: &str, value: &str) -> bool {
        let wanted = (label.to_owned(), operator.to_owned(), value.to_owned());
        self.matchers.contains(&wanted)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// The metrics that an expression names, or what is wrong with it.
pub fn read(expr: &str) -> Result<Vec<Selector>, String> {
    let mut reader = Reader {
        tokens: tokens(expr)?,
        at: 0,
        within: Vec::new(),
        found: Vec::new(),
    };
    reader.all()?;
    Ok(reader.found)
}

fn tokens(expr: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = expr.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let inside = rest[1..].find('"').ok_or("a string does not end")?;
            found.push(Token::Text(rest[1..=inside].to_owned()));
            inside + 2
        } else if SIGNS.contains(first) || first == '~' {
            found.push(Token::Sign(first));
            1
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || "_:.$".contains(c);
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("what is {first:?} for?"));
            }
            found.push(Token::Word(rest[..end].to_owned()));
            end
        };
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    within: Vec<String>,
    found: Vec<Selector>,
}

impl Reader {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn is_next(&self, sign: char) -> bool {
        self.tokens.get(self.at) == Some(&Token::Sign(sign))
    }

    fn all(&mut self) -> Result<(), String> {
        let mut before = String::new();
        while let Some(token) = self.next() {
            match &token {
                Token::Word(word) if self.is_metric(word) => self.selector(word)?,
                Token::Sign('(') => self.within.push(before.clone()),
                Token::Sign(')') => {
                    self.within.pop().ok_or("a parenthesis too many")?;
                }
                Token::Sign(sign @ ('{' | '}' | '[' | ']')) => {
                    return Err(format!("{sign} without a metric"));
                }
                _ => {}
            }
            before = match token {
                Token::Word(word) => word,
                _ => String::new(),
            };
        }
        match self.within.pop() {
            Some(open) => Err(format!("{open}( is not closed")),
            None => Ok(()),
        }
    }

    /// A word is one unless it calls something, joins something, is a number
    /// or one of several labels.
    fn is_metric(&self, word: &str) -> bool {
        let reserved = OPERATORS.contains(&word) || BEFORE_LABELS.contains(&word);
        let label = self
            .within
            .last()
            .is_some_and(|word| BEFORE_LABELS.contains(&word.as_str()));
        let calls = self.is_next('(') || self.is_aggregation();
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        !(reserved || label || calls || number)
    }

    /// `sum by (…) (…)`: a metric is followed by an operator first.
    fn is_aggregation(&self) -> bool {
        let next = self.tokens.get(self.at);
        matches!(next, Some(Token::Word(word)) if BEFORE_LABELS.contains(&word.as_str()))
    }

    fn selector(&mut self, metric: &str) -> Result<(), String> {
        let mut matchers = Vec::new();
        if self.is_next('{') {
            self.at += 1;
            while !self.is_next('}') {
                matchers.push(self.matcher(metric)?);
                if self.is_next(',') {
                    self.at += 1;
                }
            }
            self.at += 1;
        }
        let range = if self.is_next('[') {
            self.at += 1;
            let range = match (self.next(), self.next()) {
                (Some(Token::Word(range)), Some(Token::Sign(']'))) => range,
                other => return Err(format!("{metric}: no range: {other:?}")),
            };
            Some(range)
        } else {
            None
        };
        self.found.push(Selector {
            metric: metric.to_owned(),
            matchers,
            range,
            within: self.within.clone(),
        });
        Ok(())
    }

    fn matcher(&mut self, metric: &str) -> Result<(String, String, String), String> {
        let Some(Token::Word(label)) = self.next() else {
            return Err(format!("{metric}: a matcher without a label"));
        };
        let mut operator = String::new();
        loop {
            match self.next() {
                Some(Token::Sign(sign)) if "=!~".contains(sign) => operator.push(sign),
                Some(Token::Text(value)) if ["=", "!=", "=~", "!~"].contains(&&*operator) => {
                    return Ok((label, operator, value));
                }
                other => return Err(format!("{metric}: {label}{operator} {other:?}")),
            }
        }
    }
}

#[test]
fn an_expression_is_taken_apart() {
    let expr = "60 * sum by (site) (rate(a_total{job=~\"$job\", x!=\"y\"}[$__rate_interval])) \
                or on() vector(0) and 5 - max(b) >= 0.5";
    let found = read(expr).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].metric, "a_total");
    assert!(found[0].has("job", "=~", "$job") && found[0].has("x", "!=", "y"));
    assert_eq!(found[0].range.as_deref(), Some("$__rate_interval"));
    assert_eq!(found[0].within, ["", "rate"]);
    assert_eq!((&*found[1].metric, &*found[1].within[0]), ("b", "max"));
    assert_eq!(found[1].matchers, []);
    for wrong in [
        "sum(a",
        "a)",
        "a{b}",
        "a{b=\"c\"",
        "a[",
        "{b=\"c\"}",
        "a ; b",
        "\"a",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
