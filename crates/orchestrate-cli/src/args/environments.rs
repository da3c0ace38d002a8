//! `orchestrate env …`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use orchestrate_core::deployment_strategy::StrategyKind;
use orchestrate_core::environment::EnvironmentType;
use orchestrate_core::name::EnvironmentName;

use super::{Output, parse_strategy};

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
    /// After a restore: lets what is recorded run again in one, whatever runs there now.
    Accept(NamedEnvironment),
    /// Has one run on this machine from now on, because the machine that it ran on is gone for good.
    Adopt(EnvAdopt),
    /// Removes the releases that one does not keep, by its `retention`.
    Prune(EnvPrune),
}

#[derive(Debug, Args)]
pub struct EnvAdopt {
    /// The environment.
    pub name: EnvironmentName,
    /// Also while the daemon of the machine that it runs on is alive.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct EnvPrune {
    /// The environment.
    #[arg(required_unless_present = "env", conflicts_with = "env")]
    pub name: Option<EnvironmentName>,
    /// The same, as other commands have it.
    #[arg(long, short, value_name = "NAME", hide = true)]
    pub env: Option<EnvironmentName>,
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
    pub kind: EnvironmentType,
    /// Where the proxy takes requests, e.g. 127.0.0.1:8080; without it the service gets no traffic.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
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

fn parse_type(text: &str) -> Result<EnvironmentType, String> {
    serde_json::from_value(text.into()).map_err(|_| "use `development`, `staging` or `production`".to_owned())
}
