//! Medians, tables and verdicts, as they are printed.

use std::fmt;

/// The median of several rounds, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// None without a value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.most >= 1_000.0 { 0 } else { 1 };
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

/// How many times `other` it is; `–` where one is missing.
pub fn ratio(of: Option<Spread>, other: Option<Spread>) -> String {
    match (of, other) {
        (Some(of), Some(other)) if other.median > 0.0 => format!("{:.2}", of.median / other.median),
        _ => "–".to_owned(),
    }
}

pub fn or_dash(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.to_string())
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        writeln!(f, "{}", self.title)?;
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A target, and whether it was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub what: String,
    pub value: f64,
    pub at_most: f64,
    pub unit: &'static str,
}

impl Verdict {
    /// `value` is a ratio.
    pub fn ratio(what: impl Into<String>, of: Spread, other: Spread, at_most: f64) -> Self {
        Self { what: what.into(), value: of.median / other.median, at_most, unit: "×" }
    }

    /// Not a number is never good enough.
    pub fn reached(&self) -> bool {
        self.value <= self.at_most
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.reached() { "reached" } else { "MISSED " };
        write!(f, "{word}  {}: {:.2} {u}, at most {} {u}", self.what, self.value, self.at_most, u = self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_not_moved_by_one_bad_round() {
        let spread = Spread::of(&[3.0, 1.0, 900.0]).unwrap();
        assert_eq!(spread.to_string(), "3.0 (1.0–900.0)");
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_verdict_without_a_number_is_missed() {
        let nothing = Spread::of(&[0.0]).unwrap();
        let verdict = Verdict::ratio("x", nothing, nothing, 2.0);
        assert!(!verdict.reached() && verdict.to_string().starts_with("MISSED"), "{verdict}");
        assert!(Verdict { what: "y".to_owned(), value: 2.0, at_most: 2.0, unit: "×" }.reached());
    }

    #[test]
    fn a_table_lines_up() {
        let mut table = Table::new("T", &["", "ms"]);
        table.row(["ä".to_owned(), "10".to_owned()]);
        table.row(["long".to_owned(), "1".to_owned()]);
        assert_eq!(table.to_string(), "T\n        ms\n  ä     10\n  long   1\n");
    }
}
