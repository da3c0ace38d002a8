//! `orchestrate deploy drill`, and the drills on record.

use clap::Args;
use orchestrate_core::name::EnvironmentName;

use super::Output;

#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Shows the plan and changes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}
