//! The demo's chart: who was served by which version over time, one row a version and one for failures.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::load::LoadReport;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PLAIN: [char; 8] = ['.', ':', '-', '=', '+', '*', '%', '#'];
const COLORS: [AnsiColor; 4] = [AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Cyan, AnsiColor::Magenta];
const FAILED: &str = "failed";
const FEWEST_COLUMNS: usize = 10;
/// Columns between two numbers on the time axis.
const TICK_COLUMNS: usize = 10;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChartStyle {
    /// Characters in a line.
    pub width: usize,
    pub color: bool,
    /// Block characters; without them plain ASCII.
    pub unicode: bool,
}

struct Row {
    name: String,
    style: Style,
    counts: Vec<u64>,
}

/// A line for each version, with the share of the requests of each moment that it served well; then the failures,
/// the time axis, and the events, each with its time since the load's start. A blank column had no request.
pub fn render_chart(report: &LoadReport, events: &[(Duration, String)], style: ChartStyle) -> String {
    let names = report.versions();
    let label = names.iter().map(|share| share.version.chars().count()).max().unwrap_or(0).max(FAILED.len());
    let total_width = thousands(report.samples.len() as u64).len();
    let columns = style.width.saturating_sub(label + total_width + 4).max(FEWEST_COLUMNS);
    let rows = rows(report, columns);
    let totals: Vec<u64> = (0..columns).map(|at| rows.iter().map(|row| row.counts[at]).sum()).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.counts.iter().zip(&totals).map(|(count, total)| cell(*count, *total, style.unicode));
        let cells: String = cells.collect();
        let sum = thousands(row.counts.iter().sum());
        let paint = if style.color { row.style } else { Style::new() };
        let _ = writeln!(out, "{:<label$}  {paint}{cells}{paint:#}  {sum:>total_width$}", row.name);
    }
    push_axis(&mut out, report.elapsed, columns, label + 2, style.unicode);
    push_events(&mut out, report.elapsed, events, columns, label + 2);
    out
}

fn rows(report: &LoadReport, columns: usize) -> Vec<Row> {
    let colors = COLORS.into_iter().cycle();
    let mut rows: Vec<Row> = report
        .versions()
        .iter()
        .zip(colors)
        .map(|(share, color)| Row {
            name: share.version.to_string(),
            style: color.on_default(),
            counts: vec![0; columns],
        })
        .collect();
    // Answers below 500 that name no version: not the sample service, but served.
    let mut other = Row { name: "other".to_owned(), style: Style::new(), counts: vec![0; columns] };
    let red = AnsiColor::Red.on_default().bold();
    let mut failed = Row { name: FAILED.to_owned(), style: red, counts: vec![0; columns] };
    for sample in &report.samples {
        let version = sample.outcome.version();
        let row = if sample.outcome.is_failure() {
            &mut failed
        } else {
            let of_version =
                rows.iter_mut().find(|row| version.is_some_and(|version| **version == *row.name));
            of_version.unwrap_or(&mut other)
        };
        row.counts[column(sample.at, report.elapsed, columns)] += 1;
    }
    if other.counts.iter().any(|count| *count > 0) {
        rows.push(other);
    }
    rows.push(failed);
    rows
}

fn column(at: Duration, elapsed: Duration, columns: usize) -> usize {
    let part = at.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    ((part * columns as f64) as usize).min(columns - 1)
}

/// One request among a million still shows.
fn cell(count: u64, total: u64, unicode: bool) -> char {
    if count == 0 {
        return ' ';
    }
    let level = (count * 8).div_ceil(total.max(1)).clamp(1, 8);
    let levels = if unicode { BLOCKS } else { PLAIN };
    levels[usize::try_from(level - 1).unwrap_or(0)]
}

fn push_axis(out: &mut String, elapsed: Duration, columns: usize, indent: usize, unicode: bool) {
    let (tick, line) = if unicode { ('┴', '─') } else { ('+', '-') };
    let axis: String = (0..columns).map(|at| if at % TICK_COLUMNS == 0 { tick } else { line }).collect();
    let _ = writeln!(out, "{:indent$}{axis}", "");
    let mut numbers = String::new();
    for at in (0..columns).step_by(TICK_COLUMNS) {
        let seconds = elapsed.as_secs_f64() * at as f64 / columns as f64;
        let _ = write!(numbers, "{:<TICK_COLUMNS$}", format!("{seconds:.1}s"));
    }
    let _ = writeln!(out, "{:indent$}{}", "", numbers.trim_end());
}

/// A letter under the column of each event, and a line for each letter.
fn push_events(
    out: &mut String,
    elapsed: Duration,
    events: &[(Duration, String)],
    columns: usize,
    indent: usize,
) {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|(at, _)| *at);
    let mut marks = vec![' '; columns + events.len()];
    let mut lines = String::new();
    for ((at, what), letter) in events.into_iter().zip(('a'..='z').cycle()) {
        let mut place = column(*at, elapsed, columns);
        // Two events of one moment stand side by side.
        while marks.get(place).is_some_and(|mark| *mark != ' ') {
            place += 1;
        }
        if let Some(mark) = marks.get_mut(place) {
            *mark = letter;
        }
        let _ = writeln!(lines, "{:indent$}{letter} {:>6.2}s  {what}", "", at.as_secs_f64());
    }
    if !lines.is_empty() {
        let marks: String = marks.into_iter().collect();
        let _ = writeln!(out, "{:indent$}{}", "", marks.trim_end());
        out.push_str(&lines);
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
