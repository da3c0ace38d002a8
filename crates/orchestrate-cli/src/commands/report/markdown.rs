//! The report for a page of a wiki, or a comment.

use orchestrate_core::report::Report;

use super::parts;
use super::sheet::sections;

pub fn of(report: &Report) -> String {
    let (since, until) = (report.period.since.date(), report.period.until.date());
    let mut out = format!("# Deployments and rollbacks, {since} to {until}\n");
    for (name, figures) in parts(report) {
        out.push_str(&format!("\n## {}\n", cell(&name)));
        for section in sections(figures) {
            out.push_str(&format!("\n### {}\n\n| | | |\n|---|---:|---|\n", section.title));
            for line in section.lines {
                let cells = [line.name, line.value, line.note].map(|text| cell(&text));
                out.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
        }
    }
    out
}

/// Text of unknown origin that ends no cell, and is no markup.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '!' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
