//! The command line, as INTERFACE promises it.

mod format;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::plan::token::PlanToken;

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
    /// The background process of this host; started by itself when needed.
    Daemon(Daemon),
    /// Shows the output of the instances.
    Logs(Logs),
    /// Notification channels and the outbox.
    Notify(Notify),
    /// The audit trail.
    Audit(Audit),
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
pub struct Env {
    #[command(subcommand)]
    pub command: EnvCommand,
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Lists the environments.
    List(Output),
    /// Shows the settings of one.
    Show(NamedEnvironment),
    /// Creates one without a config file.
    Create(EnvCreate),
    /// Takes the environments of the config file.
    Apply(EnvApply),
    /// Removes one that runs nothing; its history stays.
    Delete(NamedEnvironment),
    /// Looks whether everything in one is as recorded.
    Check(NamedEnvironment),
    /// Stops everything in one.
    Stop(NamedEnvironment),
    /// Removes the releases that one does not keep, by its `retention`.
    Prune(EnvPrune),
}

#[derive(Debug, Args)]
pub struct EnvPrune {
    /// The environment.
    pub name: EnvironmentName,
    /// Shows what would be removed, and what stays reachable by a rollback.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct NamedEnvironment {
    /// The environment.
    pub name: EnvironmentName,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct EnvCreate {
    /// What it shall be called.
    pub name: EnvironmentName,
    /// The service that runs there.
    #[arg(long)]
    pub service: String,
    /// development, staging or production.
    #[arg(long = "type", value_name = "TYPE", default_value = "development", value_parser = parse_type)]
    pub kind: orchestrate_core::environment::EnvironmentType,
    /// Where the proxy takes requests, e.g. 127.0.0.1:8080; without it the service gets no traffic.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// How many of it run.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub instances: u32,
    /// How a new release takes the place of the one before: recreate, rolling, blue_green or canary.
    #[arg(long, default_value = "blue_green", value_parser = parse_strategy)]
    pub strategy: StrategyKind,
    /// The path of the health check.
    #[arg(long, value_name = "PATH", default_value = "/healthz")]
    pub health_path: String,
    /// The program and its arguments, after `--`.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct EnvApply {
    /// Only this one.
    #[arg(long, short, value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Deploy {
    #[command(subcommand)]
    pub command: Option<DeployCommand>,
    #[command(flatten)]
    pub run: DeployRun,
}

#[derive(Debug, Args)]
pub struct DeployRun {
    /// The environment.
    #[arg(long, short, required = true, value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    /// The version to deploy.
    #[arg(long, required = true)]
    pub version: Option<Version>,
    /// Another strategy for this once: recreate, rolling, blue_green or canary.
    #[arg(long, value_parser = parse_strategy)]
    pub strategy: Option<StrategyKind>,
    /// Only stages it beside what is live; `deploy promote` gives it the traffic.
    #[arg(long)]
    pub no_switch: bool,
    /// The artifact, instead of the config file's `release`.
    #[arg(long, value_name = "PATH")]
    pub artifact: Option<PathBuf>,
    /// Gives up after so long, and puts everything back.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Leaves out the checks before the deployment.
    #[arg(long)]
    pub skip_validation: bool,
    /// Ends once the version is live; the daemon goes on watching it.
    #[arg(long)]
    pub detach: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum DeployCommand {
    /// What is live, what is warm, and whether a rollback is ready.
    Status(StatusArgs),
    /// Deployments and rollbacks, newest first.
    History(Listing),
    /// The checks before a deployment, without deploying.
    Validate(Validate),
    /// What a deployment of a version would change.
    Diff(Diff),
    /// The releases that a rollback could take.
    Candidates(Listing),
    /// Gives what is being rolled out its next share of the traffic, or all of it.
    Promote(PromoteArgs),
    /// Keeps what is being rolled out at its share until it is promoted.
    Pause(PauseArgs),
    /// Rolls back.
    Rollback(Rollback),
    /// Recorded rollbacks, newest first.
    Rollbacks(Rollbacks),
    /// Finishes or undoes an interrupted operation.
    Resume(InEnvironment),
    /// Forbids a version here.
    Hold(HoldArgs),
    /// Allows a held version again.
    Unhold(HoldArgs),
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// All of the traffic, whatever steps are left.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Why; shown by the status.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Goes on: redrawn on a terminal, in a pipe a line for each change. Ctrl-C ends it.
    #[arg(long)]
    pub watch: bool,
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

#[derive(Debug, Args)]
pub struct Listing {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Validate {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The version that would be deployed.
    #[arg(long)]
    pub version: Option<Version>,
    /// The artifact, instead of the config file's `release`.
    #[arg(long, value_name = "PATH")]
    pub artifact: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The version that would be deployed.
    #[arg(long)]
    pub version: Version,
    /// The artifact, instead of the config file's `release`.
    #[arg(long, value_name = "PATH")]
    pub artifact: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The version to go back to [default: the newest good one before the current].
    #[arg(long)]
    pub version: Option<Version>,
    /// Leaves out the checks before the rollback.
    #[arg(long)]
    pub skip_validation: bool,
    /// Also rolls back a completed deployment, and goes to a held version.
    #[arg(long)]
    pub force: bool,
    /// Shows the plan and changes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Runs exactly the plan that --dry-run showed with this token, or refuses.
    #[arg(long, value_name = "TOKEN", conflicts_with = "dry_run")]
    pub plan: Option<PlanToken>,
    /// Takes the newest rollback back: goes forward again to where it came from.
    #[arg(long, conflicts_with = "version")]
    pub undo: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Rollbacks {
    #[command(subcommand)]
    pub command: Option<RollbacksCommand>,
    /// The environment.
    #[arg(long, short, required = true, value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum RollbacksCommand {
    /// Shows one rollback, with its phases.
    Show {
        /// The number of the rollback.
        id: i64,
        /// The environment that it must be of.
        #[arg(long, short, value_name = "NAME")]
        env: Option<EnvironmentName>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    /// The version of the service.
    pub version: Version,
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Daemon {
    #[command(subcommand)]
    pub command: DaemonCommand,
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Runs it in the foreground.
    Run {
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Starts it in the background.
    Start(Output),
    /// Stops it; services and proxy go on.
    Stop {
        /// Stops services and proxy too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Tells how it is.
    Status(Output),
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Only of this version [default: what is live].
    #[arg(long)]
    pub version: Option<Version>,
    /// Goes on as more is written.
    #[arg(long, short)]
    pub follow: bool,
    /// How many lines of each instance to begin with.
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub lines: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Notify {
    #[command(subcommand)]
    pub command: NotifyCommand,
}

#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Sends a test notice to every channel of an environment.
    Test(InEnvironment),
    /// What waits, what was delivered, what was given up on.
    Status(Output),
    /// Delivers what waits now, without waiting for its next attempt.
    Flush {
        /// Also what was given up on.
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Who did what, when and why, newest first.
    List {
        /// Only of this environment.
        #[arg(long, short, value_name = "NAME")]
        env: Option<EnvironmentName>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct Proxy {
    #[arg(long)]
    pub socket: PathBuf,
    #[arg(long)]
    pub state: PathBuf,
    #[arg(long)]
    pub threads: Option<usize>,
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

fn parse_type(text: &str) -> Result<orchestrate_core::environment::EnvironmentType, String> {
    serde_json::from_value(text.into()).map_err(|_| "use `development`, `staging` or `production`".to_owned())
}
