//! The daemon, the logs and the notices of this host.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use orchestrate_core::name::{EnvironmentName, Version};

use super::{InEnvironment, Output};

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
        #[arg(long, hide = true)]
        take_over: bool,
    },
    /// Starts it in the background.
    Start(Output),
    /// Has this program take over daemon and proxy; nobody who is served notices.
    Restart(Output),
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
    Status {
        /// Only what was given up on.
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Delivers what waits now, without waiting for its next attempt.
    Flush {
        /// Also what was given up on.
        #[arg(long)]
        dead: bool,
        /// Only this notice, given up on or not; `notify status` shows the numbers.
        #[arg(long, value_name = "NUMBER", conflicts_with = "dead")]
        id: Option<i64>,
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
    /// Takes over from the proxy that runs.
    #[arg(long)]
    pub take_over: bool,
}

#[derive(Debug, Args)]
pub struct StaticServe {
    /// The settings of the site, as JSON.
    #[arg(long)]
    pub settings: String,
}
