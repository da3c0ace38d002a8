//! `orchestrate deploy rollback`, and the rollbacks on record.

use clap::{Args, Subcommand};
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::plan::token::PlanToken;

use super::Output;

#[derive(Debug, Args)]
#[command(
    override_usage = "orchestrate deploy rollback [OPTIONS] --env <NAME>\n       orchestrate deploy rollback [OPTIONS] --group <NAME>"
)]
pub struct Rollback {
    /// The environment.
    #[arg(long, short, value_name = "NAME", required_unless_present = "group")]
    pub env: Option<EnvironmentName>,
    /// Every environment of this group, all or none of them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["env", "version", "undo", "plan", "break_glass", "skip_validation"])]
    pub group: Option<String>,
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
    /// Whatever policies and holds say; recorded, and told to every channel.
    #[arg(long, requires = "reason")]
    pub break_glass: bool,
    /// Without the `pre_rollback` of the release that is left, where it cannot be made to work.
    #[arg(long, requires = "break_glass")]
    pub skip_pre_rollback: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    override_usage = "orchestrate deploy rollbacks [OPTIONS] --env <NAME>\n       orchestrate deploy rollbacks [OPTIONS] --group <NAME>\n       orchestrate deploy rollbacks show <ID>"
)]
pub struct Rollbacks {
    #[command(subcommand)]
    pub command: Option<RollbacksCommand>,
    /// The environment.
    #[arg(long, short, required_unless_present = "group", value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    /// Those of this group, each with its parts.
    #[arg(long, value_name = "NAME", conflicts_with = "env")]
    pub group: Option<String>,
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
