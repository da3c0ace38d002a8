//! The chart, read as a person would.

use std::sync::Arc;

use super::*;
use crate::demo::load::{Outcome, Sample};

const STYLE: ChartStyle = ChartStyle { width: 40, color: false, unicode: true };

fn sample(at_ms: u64, outcome: Outcome) -> Sample {
    Sample { at: Duration::from_millis(at_ms), took: Duration::from_millis(1), outcome }
}

fn served(at_ms: u64, version: &str) -> Sample {
    sample(at_ms, Outcome::Answered { status: 200, version: Some(Arc::from(version)) })
}

/// One second of 1.0.0, one of 1.1.0 with a failure, one of 1.0.0 again.
fn there_and_back() -> LoadReport {
    let mut samples: Vec<_> = (0..3_000)
        .map(|at| served(at, if (1_000..2_000).contains(&at) { "1.1.0" } else { "1.0.0" }))
        .collect();
    samples.push(sample(1_500, Outcome::Lost { error: "no answer".to_owned() }));
    samples.sort_by_key(|sample| sample.at);
    LoadReport { samples, elapsed: Duration::from_secs(3) }
}

#[test]
fn a_chart_shows_who_served_when() {
    let events = [
        (Duration::from_millis(2_000), "rolled back".to_owned()),
        (Duration::from_millis(1_000), "1.1.0 went live".to_owned()),
    ];
    let chart = render_chart(&there_and_back(), &events, STYLE);
    let wanted = "\
1.0.0   ████████▃       ▃████████  2,000
1.1.0           ▆███████▆          1,000
failed              ▁                  1
        ┴─────────┴─────────┴────
        0.0s      1.2s      2.4s
                a       b
        a   1.00s  1.1.0 went live
        b   2.00s  rolled back
";
    assert_eq!(chart, wanted, "{chart}");
}

#[test]
fn a_moment_without_an_answer_is_blank() {
    let samples = vec![served(0, "1"), served(999, "1")];
    let chart = render_chart(&LoadReport { samples, elapsed: Duration::from_secs(1) }, &[], STYLE);
    let cells: String = chart.lines().next().unwrap().chars().skip(8).collect();
    assert_eq!(cells.matches('█').count(), 2, "{chart}");
    let between = cells.split('█').nth(1).unwrap();
    assert!(between.len() > 20 && between.chars().all(|cell| cell == ' '), "{chart}");
}

#[test]
fn ascii_and_color_are_as_asked() {
    let report = there_and_back();
    let plain = render_chart(&report, &[], ChartStyle { unicode: false, ..STYLE });
    assert!(plain.is_ascii() && plain.contains("########"), "{plain}");
    let colored = render_chart(&report, &[], ChartStyle { color: true, ..STYLE });
    assert!(colored.contains("\u{1b}[32m█"), "{colored:?}");
    assert!(!render_chart(&report, &[], STYLE).contains('\u{1b}'));
}

#[test]
fn nothing_and_oddities_can_be_charted() {
    let nothing = render_chart(&LoadReport::default(), &[(Duration::from_secs(9), "late".to_owned())], STYLE);
    assert!(nothing.contains("failed") && nothing.contains("late"), "{nothing}");
    let samples = vec![sample(5, Outcome::Answered { status: 404, version: None })];
    let report = LoadReport { samples, elapsed: Duration::from_millis(5) };
    let narrow = render_chart(
        &report,
        &vec![(Duration::ZERO, "event".to_owned()); 30],
        ChartStyle { width: 0, ..STYLE },
    );
    assert!(narrow.starts_with("other"), "{narrow}");
    assert_eq!(narrow.matches("event").count(), 30, "{narrow}");
}

#[test]
fn thousands_are_grouped() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
}
