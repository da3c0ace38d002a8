//! Who may do what.

use clap::{Args, Subcommand};
use orchestrate_core::access::Role;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::time::Span;

use super::Output;

#[derive(Debug, Args)]
pub struct Tokens {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token, and prints it this once. With the first one, whatever changes something asks for a token.
    Create(TokenCreate),
    /// Lists the tokens, never what they read.
    List(Output),
    /// Ends one.
    Revoke {
        /// Whose it is.
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct TokenCreate {
    /// Whose it is, as records will name it.
    pub name: String,
    /// viewer, deployer, approver or admin; may be given again.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = parse_role)]
    pub roles: Vec<Role>,
    /// Only for this environment; may be given again.
    #[arg(long = "env", short, value_name = "NAME")]
    pub environments: Vec<EnvironmentName>,
    /// How long it is good, e.g. 90d; for ever without.
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<Span>,
    /// Without an admin's token, because they are lost; recorded, and told to every channel.
    #[arg(long, requires = "reason")]
    pub break_glass: bool,
    /// Why; kept with the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "use `viewer`, `deployer`, `approver` or `admin`".to_owned())
}
