//! What was recorded: the audit trail, and the database itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use orchestrate_core::name::EnvironmentName;

use super::Output;

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
    /// Reads the whole trail and tells what was altered, removed, moved or put in.
    Verify(AuditVerify),
    /// Prints the newest record's number and hash, to be kept elsewhere.
    Head(AuditHeadArgs),
}

#[derive(Debug, Args)]
pub struct AuditVerify {
    /// A head that was kept: its hash, or the file that `audit head --format json` wrote.
    #[arg(long, value_name = "HASH|FILE")]
    pub head: Option<String>,
    /// Who must have signed that file [default: the key of this home].
    #[arg(long, value_name = "HEX", requires = "head")]
    pub public_key: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct AuditHeadArgs {
    /// Signs it with the key of this home (Ed25519).
    #[arg(long)]
    pub sign: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Db {
    #[command(subcommand)]
    pub command: DbCommand,
}

#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Copies the database into a file, whole, while everything goes on.
    Backup(DbBackup),
    /// Looks whether the database is whole and its records agree with each other.
    Check(Output),
    /// Puts a backup in the place of the database; what was there is kept beside it.
    Restore(DbRestore),
}

#[derive(Debug, Args)]
pub struct DbBackup {
    /// The file to write.
    pub file: PathBuf,
    /// Replaces a file that is there.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct DbRestore {
    /// What `db backup` wrote.
    pub file: PathBuf,
    #[command(flatten)]
    pub output: Output,
}
