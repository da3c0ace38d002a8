//! `orchestrate report`.

use clap::{ArgGroup, Args, ValueEnum};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::time::{Span, Timestamp};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true))]
#[command(
    after_help = "For a page to look at: orchestrate report --all --since 90d --format html > report.html"
)]
pub struct Report {
    /// The environment.
    #[arg(long, short, value_name = "NAME", group = "whose")]
    pub env: Option<EnvironmentName>,
    /// All environments, and all of them together.
    #[arg(long, group = "whose")]
    pub all: bool,
    /// From when on: a span before now, a day, or an instant [for example 90d, 2026-09-01, 2026-09-01T08:00:00Z].
    #[arg(long, default_value = "30d", value_name = "WHEN")]
    pub since: Moment,
    /// Until when [default: now].
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Table,
    Json,
    /// One line an environment.
    Csv,
    Markdown,
    /// A page by itself, with plots.
    Html,
}

/// An instant as people type it.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    Ago(Span),
    At(Timestamp),
}

impl Moment {
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => {
                let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(now.as_millis().saturating_sub(millis))
            }
            Self::At(time) => time,
        }
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = || format!("{text}T00:00:00Z").parse().map(Self::At);
        let instant = || text.parse().map(Self::At);
        text.parse().map(Self::Ago).or_else(|_| instant()).or_else(|_: String| day()).map_err(|_: String| {
            "write a span such as `90d` or `12h`, a day such as `2026-09-01`, or an instant such as `2026-09-01T08:00:00Z`"
                .to_owned()
        })
    }
}
