//! Tables for people: columns as wide as what is in them, notes below rows.

use std::fmt;

/// What stands between two columns.
const GAP: &str = "  ";

/// A table with one line of heads.
#[derive(Debug)]
pub struct Table {
    indent: &'static str,
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Row(Vec<String>),
    Note(String),
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(heads: &[&str]) -> Table {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        Table {
            indent: "",
            lines: vec![Line::Row(heads)],
        }
    }

    /// The same, set in from the left as notes are.
    #[must_use]
    pub fn indented(self) -> Table {
        Table {
            indent: GAP,
            ..self
        }
    }

    /// Adds a row, with a cell for each head.
    pub fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| printable(cell)).collect();
        self.lines.push(Line::Row(cells));
    }

    /// Adds an indented line below the last row; no column is wider for it.
    pub fn note(&mut self, text: &str) {
        self.lines.push(Line::Note(printable(text)));
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for line in &self.lines {
            let Line::Row(cells) = line else { continue };
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for line in &self.lines {
            match line {
                Line::Row(cells) => {
                    let padded = cells.iter().zip(&widths);
                    let padded = padded.map(|(cell, width)| format!("{cell:width$}"));
                    let row = padded.collect::<Vec<_>>().join(GAP);
                    writeln!(f, "{}{}", self.indent, row.trim_end())?;
                }
                Line::Note(text) => writeln!(f, "{}{GAP}{text}", self.indent)?,
            }
        }
        Ok(())
    }
}

/// Text that stays on its line and steers no terminal, wherever it came from.
#[must_use]
pub fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_notes_widen_nothing() {
        let mut table = Table::new(&["SITE", "RECORD", "RESULT"]);
        table.row(vec![
            "www".into(),
            "main (192.0.2.10)".into(),
            String::new(),
        ]);
        table.note("a note that is longer than any of the cells above");
        table.row(vec!["bücher".into(), "?".into(), "confirmed".into()]);
        assert_eq!(
            table.to_string(),
            "SITE    RECORD             RESULT\n\
             www     main (192.0.2.10)\n\
             \x20 a note that is longer than any of the cells above\n\
             bücher  ?                  confirmed\n"
        );
        let mut nested = Table::new(&["A", "B"]).indented();
        nested.row(vec!["1".into(), "2".into()]);
        assert_eq!(nested.to_string(), "  A  B\n  1  2\n");
    }

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\t"), "a [2Jb  c");
        let mut table = Table::new(&["A"]);
        table.row(vec!["x\ny".into()]);
        table.note("x\ny");
        assert_eq!(table.to_string(), "A\nx y\n  x y\n");
    }
}
