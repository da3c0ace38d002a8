//! `orchestrate provider …`.

use clap::{Args, Subcommand};
use orchestrate_core::name::{EnvironmentName, Version};

use super::Output;

#[derive(Debug, Args)]
pub struct Provider {
    #[command(subcommand)]
    pub command: ProviderCommand,
}

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Holds the commands of a custom environment against the protocol, in a slot that is not used.
    Check(ProviderCheck),
}

#[derive(Debug, Args)]
pub struct ProviderCheck {
    /// The environment.
    #[arg(long, short, value_name = "NAME")]
    pub env: EnvironmentName,
    /// A version whose artifact has the commands; it is started and stopped again, and never recorded.
    #[arg(long)]
    pub version: Version,
    #[command(flatten)]
    pub output: Output,
}
