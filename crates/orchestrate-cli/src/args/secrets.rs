//! What is kept encrypted, and under which key.

use clap::{Args, Subcommand};

use super::{InEnvironment, Output};

#[derive(Debug, Args)]
pub struct Secrets {
    #[command(subcommand)]
    pub command: SecretsCommand,
}

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Names and versions of an environment's secrets, never their values.
    List(InEnvironment),
    /// Makes another key and seals everything with it; what runs goes on.
    Rotate {
        /// Leaves behind what no key at hand opens.
        #[arg(long)]
        skip_unreadable: bool,
        #[command(flatten)]
        output: Output,
    },
}
