//! The figures in words: what the table, the Markdown and the page show, in one place.

use std::collections::BTreeMap;

use orchestrate_core::report::{Deployments, Dora, Drills, Figures, Reason, Rollbacks, Spread};

use crate::printer::{harmless, took};

/// So many reasons are listed; the rest is counted.
const REASONS: usize = 5;
const NONE: &str = "–";

/// A heading with its lines.
pub struct Section {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    pub value: String,
    /// More about it.
    pub note: String,
}

pub fn sections(figures: &Figures) -> Vec<Section> {
    let mut sections = vec![
        Section { title: "Deployments", lines: deployments(&figures.deployments) },
        Section { title: "Rollbacks", lines: rollbacks(&figures.rollbacks) },
    ];
    if figures.drills.total > 0 {
        sections.push(Section { title: "Drills", lines: drills(&figures.drills) });
    }
    sections.push(Section { title: "DORA", lines: dora(&figures.dora) });
    sections
}

fn line(name: &str, value: impl Into<String>, note: impl Into<String>) -> Line {
    Line { name: name.to_owned(), value: value.into(), note: note.into() }
}

fn deployments(counts: &Deployments) -> Vec<Line> {
    let Deployments { total, completed, failed, timed_out, rolled_back, open, broke_glass } = *counts;
    let ways = [
        ("completed", completed),
        ("failed", failed),
        ("timed out", timed_out),
        ("rolled back", rolled_back),
        ("open", open),
        ("by broken glass", broke_glass),
    ];
    vec![line("began", total.to_string(), listed(ways))]
}

fn rollbacks(counts: &Rollbacks) -> Vec<Line> {
    let ways = [
        ("completed", counts.completed),
        ("failed", counts.failed),
        ("need attention", counts.needs_attention),
        ("took a rollback back", counts.undone),
        ("by broken glass", counts.broke_glass),
    ];
    let named =
        |counts: &BTreeMap<&'static str, usize>| listed(counts.iter().map(|(name, count)| (*name, *count)));
    let mut lines = vec![line("began", counts.total.to_string(), listed(ways))];
    if counts.total == 0 {
        return lines;
    }
    lines.push(line("succeeded", percent(counts.success_rate), "of those that ended"));
    lines.push(line("found their target warm", percent(counts.warm_rate), "of those that moved traffic"));
    for (path, spread) in &counts.by_path {
        let name = if *path == "none" { "took, target was live already" } else { path };
        let name = if *path == "none" { name.to_owned() } else { format!("took, {name}") };
        lines.push(spread_line(&name, Some(*spread)));
    }
    lines.push(spread_line("bad release until restored", counts.time_to_restore));
    lines.push(line("by type", "", named(&counts.by_type)));
    lines.push(line("by trigger", "", named(&counts.by_trigger)));
    lines.push(line("by reason", "", reasons(&counts.by_reason)));
    lines
}

fn drills(counts: &Drills) -> Vec<Line> {
    let ways = [
        ("completed", counts.completed),
        ("failed", counts.failed),
        ("given up", counts.given_up),
        ("need attention", counts.needs_attention),
    ];
    let mut lines = vec![
        line("began", counts.total.to_string(), listed(ways)),
        line("succeeded", percent(counts.success_rate), "of those that came to a verdict"),
    ];
    let took = counts.by_path.iter();
    lines.extend(took.map(|(path, spread)| spread_line(&format!("took, {path}"), Some(*spread))));
    lines
}

fn dora(dora: &Dora) -> Vec<Line> {
    let lead = dora.lead_time.map_or_else(
        || "no release has the time of its commit; take releases from git for that".to_owned(),
        |spread| format!("{}; commit until live", spread_note(spread)),
    );
    let recovery = dora.recovery_time.map_or_else(String::new, spread_note);
    vec![
        line(
            "deployment frequency",
            frequency(dora.deployments_per_day),
            format!("{} went live", dora.deployments),
        ),
        line("change lead time", median(dora.lead_time), lead),
        line(
            "change failure rate",
            percent(dora.change_failure_rate),
            format!("{} of {} that went live", dora.failed, dora.deployments),
        ),
        line("failed deployment recovery time", median(dora.recovery_time), recovery),
    ]
}

fn spread_line(name: &str, spread: Option<Spread>) -> Line {
    line(name, median(spread), spread.map_or_else(String::new, spread_note))
}

fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| NONE.to_owned(), |spread| took(spread.p50_ms))
}

fn spread_note(spread: Spread) -> String {
    format!("median of {}; p95 {}, most {}", spread.count, took(spread.p95_ms), took(spread.max_ms))
}

pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// In the unit that people would say it in.
pub fn frequency(per_day: Option<f64>) -> String {
    match per_day {
        None => NONE.to_owned(),
        Some(rate) if rate >= 1.0 || rate == 0.0 => format!("{rate:.1} a day"),
        Some(rate) if rate >= 1.0 / 7.0 => format!("{:.1} a week", rate * 7.0),
        Some(rate) => format!("{:.1} a month", rate * 365.25 / 12.0),
    }
}

fn listed<'a>(counts: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let some = counts.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn reasons(reasons: &[Reason]) -> String {
    let told = |reason: &Reason| {
        let text = reason.reason.as_deref().map_or_else(|| "none given".to_owned(), harmless);
        format!("{} {}", reason.count, text.lines().next().unwrap_or_default())
    };
    let mut parts: Vec<String> = reasons.iter().take(REASONS).map(told).collect();
    let rest: usize = reasons.iter().skip(REASONS).map(|reason| reason.count).sum();
    if rest > 0 {
        parts.push(format!("{rest} others"));
    }
    parts.join(", ")
}
