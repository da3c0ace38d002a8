//! `orchestrate deploy` and what is asked about deployments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::time::Span;

use super::{DrillArgs, InEnvironment, Output, Rollback, Rollbacks, parse_strategy};

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
    /// Also where somebody changed by hand what runs there; that is overwritten.
    #[arg(long)]
    pub force: bool,
    /// Leaves out the checks before the deployment.
    #[arg(long)]
    pub skip_validation: bool,
    /// Ends once the version is live; the daemon goes on watching it.
    #[arg(long)]
    pub detach: bool,
    /// Waits so long for somebody to approve it, e.g. 30m, and then deploys.
    #[arg(long, value_name = "SPAN")]
    pub wait_for_approval: Option<Span>,
    /// Whatever policies say; recorded, and told to every channel.
    #[arg(long, requires = "reason", conflicts_with = "wait_for_approval")]
    pub break_glass: bool,
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
    /// Lets a deployment happen that somebody else asked for.
    Approve(ApprovalArgs),
    /// Says no to one.
    Reject(ApprovalArgs),
    /// Deployments that wait, or waited, for approval, newest first.
    Approvals(Listing),
    /// Rolls back.
    Rollback(Rollback),
    /// Recorded rollbacks, newest first.
    Rollbacks(Rollbacks),
    /// Rehearses a rollback, and comes back at once.
    Drill(DrillArgs),
    /// Recorded drills, newest first.
    Drills(Listing),
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
    /// Also in a freeze; recorded, and told to every channel.
    #[arg(long, requires = "reason")]
    pub break_glass: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Gives up after so long, and leaves the traffic as it was.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Ends once the version has its traffic; the daemon goes on watching it.
    #[arg(long)]
    pub detach: bool,
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
pub struct ApprovalArgs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The version; needed where several wait.
    #[arg(long)]
    pub version: Option<Version>,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
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
