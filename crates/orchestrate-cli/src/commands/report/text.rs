//! The report for a terminal.

use orchestrate_core::report::{Day, Figures, Report};

use super::parts;
use super::sheet::sections;
use crate::printer::Printer;

/// As wide as the line of a day's counts is at most.
const WIDTH: usize = 45;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub fn of(report: &Report, printer: &Printer) -> String {
    let (since, until) = (report.period.since.date(), report.period.until.date());
    let mut blocks = vec![format!("{since} to {until} (UTC), {:.0} days", report.period.days())];
    blocks.extend(parts(report).into_iter().map(|(name, figures)| block(&name, figures, printer)));
    blocks.join("\n\n")
}

fn block(name: &str, figures: &Figures, printer: &Printer) -> String {
    let mut lines = vec![printer.good(name)];
    for (title, count) in [
        ("deployments", (|day| day.deployments) as fn(&Day) -> usize),
        ("  failed or taken back", |day| day.failed),
        ("rollbacks", |day| day.rollbacks),
    ] {
        let counts: Vec<usize> = figures.days.iter().map(count).collect();
        lines.push(format!("  {title:<24}{}", sparkline(&counts, WIDTH)));
    }
    let rows = sections(figures).into_iter().flat_map(|section| {
        let head = vec![printer.noted(section.title), String::new(), String::new()];
        let rows =
            section.lines.into_iter().map(|line| vec![format!("  {}", line.name), line.value, line.note]);
        std::iter::once(head).chain(rows).collect::<Vec<_>>()
    });
    lines.extend(printer.table(&[], rows.collect()).lines().map(|line| format!("  {line}")));
    lines.join("\n")
}

/// A bar for each day, or for several of them; a dot where nothing happened.
pub fn sparkline(counts: &[usize], width: usize) -> String {
    let each = counts.len().div_ceil(width).max(1);
    let sums: Vec<usize> = counts.chunks(each).map(|chunk| chunk.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let bar = |sum: &usize| match *sum {
        0 => '·',
        sum => BARS[(sum * BARS.len()).div_ceil(most) - 1],
    };
    sums.iter().map(bar).collect()
}
