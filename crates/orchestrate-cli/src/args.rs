//! The command line, as INTERFACE promises it.

mod deploy;
mod drill;
mod environments;
mod format;
mod host;
mod provider;
mod records;
mod report;
mod rollback;
mod secrets;
mod tokens;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::name::EnvironmentName;

pub use self::deploy::*;
pub use self::drill::*;
pub use self::environments::*;
pub use self::host::*;
pub use self::provider::*;
pub use self::records::*;
pub use self::report::*;
pub use self::rollback::*;
pub use self::secrets::*;
pub use self::tokens::*;

/// Deploys a service and can always take the deployment back.
#[derive(Debug, Parser)]
#[command(name = "orchestrate", version, max_term_width = 100)]
#[command(after_help = "Start with `orchestrate demo`, then `orchestrate init`. At three in the morning: \
    `orchestrate deploy rollback --env production`, with --dry-run to see it first.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The config file [default: ./orchestrate.yaml].
    #[arg(long, global = true, value_name = "FILE", env = "ORCHESTRATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the state of this host is kept [default: $XDG_STATE_HOME/orchestrate or ~/.local/state/orchestrate].
    #[arg(long, global = true, value_name = "DIR", env = "ORCHESTRATE_HOME")]
    pub home: Option<PathBuf>,
    /// The database [default: orchestrate.db in the home]; postgres://… lets several operators share it.
    #[arg(long, global = true, value_name = "URL", env = "ORCHESTRATE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A SQLite file as the database.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "database_url")]
    pub db_path: Option<PathBuf>,
    /// Answers every question with yes.
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Prints results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Prints more of what is done.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Whether to colour what is printed.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a commented orchestrate.yaml.
    Init(Init),
    /// Shows the main job on a sample service: deploy, bad deploy, roll back under load.
    Demo(Demo),
    /// Environments: where a service runs.
    Env(Env),
    /// Deploys a version; see also its subcommands.
    Deploy(Deploy),
    /// What runs the releases of an environment.
    Provider(Provider),
    /// The background process of this host; started by itself when needed.
    Daemon(Daemon),
    /// Shows the output of the instances.
    Logs(Logs),
    /// Notification channels and the outbox.
    Notify(Notify),
    /// What is kept encrypted, and under which key.
    Secrets(Secrets),
    /// Who may do what: named tokens with roles.
    Token(Tokens),
    /// What deployments and rollbacks came to: counts, durations, the figures of DORA.
    Report(Report),
    /// The audit trail.
    Audit(Audit),
    /// The database: backup, check, restore.
    Db(Db),
    /// Looks for what is wrong on this host, and says what to do.
    Doctor(Output),
    /// Prints completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Prints the manual page.
    Man,
    /// Short for `deploy rollback`.
    #[command(hide = true)]
    Rollback(Rollback),
    #[command(hide = true)]
    Proxy(Proxy),
    #[command(hide = true)]
    StaticServe(StaticServe),
    #[command(hide = true)]
    SampleService,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The name of the service [default: the directory's].
    #[arg(long)]
    pub service: Option<String>,
    /// Overwrites files that are there.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Requests a second.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct InEnvironment {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    #[command(flatten)]
    pub output: Output,
}

fn parse_strategy(text: &str) -> Result<StrategyKind, String> {
    match text {
        "recreate" => Ok(StrategyKind::Recreate),
        "blue_green" | "blue-green" => Ok(StrategyKind::BlueGreen),
        "canary" => Ok(StrategyKind::Canary),
        "rolling" => Ok(StrategyKind::Rolling),
        _ => Err("use `recreate`, `rolling`, `blue_green` or `canary`".to_owned()),
    }
}

/// A reason that says nothing is none: rules that want one are not met by it, and all others go on without.
pub fn without_blank_reasons(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const FLAG: &str = "--reason";
    let is_blank = |text: &str| text.trim().is_empty();
    let (mut kept, mut typed) = (Vec::new(), typed.peekable());
    while let Some(one) = typed.next() {
        let text = one.to_string_lossy();
        if text == "--" {
            kept.push(one);
            kept.extend(typed);
            break;
        }
        let joined = text.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('=')).is_some_and(is_blank);
        let apart = text == FLAG && typed.peek().is_some_and(|next| is_blank(&next.to_string_lossy()));
        if apart {
            typed.next();
        }
        if !joined && !apart {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_says_nothing_is_none() {
        let kept = |typed: &[&str]| {
            let kept = without_blank_reasons(typed.iter().map(OsString::from));
            kept.into_iter().map(|one| one.into_string().unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(kept(&["rollback", "--reason", " ", "--force"]), ["rollback", "--force"]);
        assert_eq!(kept(&["rollback", "--reason=", "--force"]), ["rollback", "--force"]);
        assert_eq!(kept(&["rollback", "--reason", "why"]), ["rollback", "--reason", "why"]);
        assert_eq!(kept(&["rollback", "--reason"]), ["rollback", "--reason"]);
        assert_eq!(kept(&["a", "--", "--reason", ""]), ["a", "--", "--reason", ""]);
    }
}
