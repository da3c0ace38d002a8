//! The report as a page by itself: no script, nothing loaded from elsewhere.

use askama::Template;
use orchestrate_core::report::{Day, Figures, Report};
use orchestrate_core::{Error, Result};

use super::parts;
use super::sheet::{Section, frequency, percent, sections};
use crate::printer::took;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    since: String,
    until: String,
    days: String,
    parts: Vec<Block>,
}

struct Block {
    name: String,
    tiles: Vec<Tile>,
    charts: [Chart; 2],
    sections: Vec<Section>,
}

/// One figure, large.
struct Tile {
    name: &'static str,
    value: String,
}

/// Bars over time, each in two parts. Coordinates are those of the picture, in its own units.
struct Chart {
    name: &'static str,
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    first: String,
    last: String,
}

struct Bar {
    x: String,
    width: String,
    good: Piece,
    bad: Piece,
    says: String,
}

struct Piece {
    y: String,
    height: String,
}

struct Tick {
    y: String,
    count: usize,
}

pub const WIDTH: f64 = 600.0;
pub const HEIGHT: f64 = 120.0;
const MOST_BARS: usize = 60;
const GAP: f64 = 2.0;

pub fn of(report: &Report) -> Result<String> {
    let page = Page {
        since: report.period.since.date(),
        until: report.period.until.date(),
        days: format!("{:.0}", report.period.days()),
        parts: parts(report).into_iter().map(|(name, figures)| block(name, figures)).collect(),
    };
    page.render().map_err(|error| Error::bug(format!("the report cannot be written as a page: {error}")))
}

fn block(name: String, figures: &Figures) -> Block {
    let Figures { rollbacks, dora, days, .. } = figures;
    let warm = rollbacks.by_path.get("warm").map_or_else(|| "–".to_owned(), |spread| took(spread.p50_ms));
    let restored = rollbacks.time_to_restore.map_or_else(|| "–".to_owned(), |spread| took(spread.p50_ms));
    let tiles = [
        ("deployments live", frequency(dora.deployments_per_day)),
        ("change failure rate", percent(dora.change_failure_rate)),
        ("bad release until restored, median", restored),
        ("warm rollback, median", warm),
        ("rollbacks that succeeded", percent(rollbacks.success_rate)),
    ];
    Block {
        name,
        tiles: tiles.into_iter().map(|(name, value)| Tile { name, value }).collect(),
        charts: [
            chart("Deployments", days, |day| (day.deployments - day.failed, day.failed)),
            chart("Rollbacks", days, |day| (day.rollbacks, 0)),
        ],
        sections: sections(figures),
    }
}

fn chart(name: &'static str, days: &[Day], counts: impl Fn(&Day) -> (usize, usize)) -> Chart {
    let each = days.len().div_ceil(MOST_BARS).max(1);
    let sums: Vec<(String, usize, usize)> = days.chunks(each).map(|days| sum(days, &counts)).collect();
    let most = sums.iter().map(|(_, good, bad)| good + bad).max().unwrap_or(0).max(1);
    let step = WIDTH / sums.len().max(1) as f64;
    let height = |count: usize| count as f64 / most as f64 * HEIGHT;
    let bar = |(number, (when, good, bad)): (usize, &(String, usize, usize))| Bar {
        x: unit(number as f64 * step),
        width: unit((step - GAP).max(1.0)),
        good: Piece { y: unit(HEIGHT - height(*good)), height: unit(height(*good)) },
        bad: Piece { y: unit(HEIGHT - height(good + bad)), height: unit(height(*bad)) },
        says: match bad {
            0 => format!("{when}: {good}"),
            bad => format!("{when}: {} ({bad} failed or taken back)", good + bad),
        },
    };
    let mut marks = vec![0, most / 2, most];
    marks.dedup();
    Chart {
        name,
        bars: sums.iter().enumerate().map(bar).collect(),
        ticks: marks.into_iter().map(|count| Tick { y: unit(HEIGHT - height(count)), count }).collect(),
        first: days.first().map_or_else(String::new, |day| day.day.clone()),
        last: days.last().map_or_else(String::new, |day| day.day.clone()),
    }
}

fn sum(days: &[Day], counts: &impl Fn(&Day) -> (usize, usize)) -> (String, usize, usize) {
    let when = match days {
        [] => String::new(),
        [day] => day.day.clone(),
        [first, .., last] => format!("{} to {}", first.day, last.day),
    };
    let (good, bad): (Vec<usize>, Vec<usize>) = days.iter().map(counts).unzip();
    (when, good.iter().sum(), bad.iter().sum())
}

fn unit(value: f64) -> String {
    format!("{value:.1}")
}
