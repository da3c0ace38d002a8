//! In which format a command prints: the option stands in each command, and the printer is made before one runs.

use super::{
    AuditCommand, Cli, Command, DaemonCommand, DbCommand, Deploy, DeployCommand, EnvCommand, Format,
    NotifyCommand, Output, Provider, ProviderCommand, ReportFormat, Rollbacks, RollbacksCommand,
    SecretsCommand, TokenCommand,
};

impl Cli {
    /// The format in which this command's results and errors are printed.
    pub fn format(&self) -> Format {
        match &self.command {
            Command::Report(args) if args.format == ReportFormat::Json => Format::Json,
            _ => self.output().map_or(Format::Table, |output| output.format),
        }
    }

    fn output(&self) -> Option<&Output> {
        match &self.command {
            Command::Init(args) => Some(&args.output),
            Command::Demo(args) => Some(&args.output),
            Command::Env(env) => Some(env.command.output()),
            Command::Deploy(Deploy { command: None, run }) => Some(&run.output),
            Command::Deploy(Deploy { command: Some(command), .. }) => Some(command.output()),
            Command::Provider(Provider { command: ProviderCommand::Check(args) }) => Some(&args.output),
            Command::Daemon(daemon) => daemon.command.output(),
            Command::Notify(notify) => Some(notify.command.output()),
            Command::Secrets(secrets) => Some(secrets.command.output()),
            Command::Token(tokens) => Some(tokens.command.output()),
            Command::Audit(audit) => Some(audit.command.output()),
            Command::Db(db) => Some(db.command.output()),
            Command::Doctor(output) => Some(output),
            Command::Rollback(args) => Some(&args.output),
            Command::Logs(args) => Some(&args.output),
            Command::Completions { .. }
            | Command::Man
            | Command::Report(_)
            | Command::Proxy(_)
            | Command::StaticServe(_)
            | Command::SampleService => None,
        }
    }
}

impl EnvCommand {
    fn output(&self) -> &Output {
        match self {
            Self::List(output) => output,
            Self::Show(args)
            | Self::Delete(args)
            | Self::Check(args)
            | Self::Stop(args)
            | Self::Accept(args) => &args.output,
            Self::Create(args) => &args.output,
            Self::Apply(args) => &args.output,
            Self::Prune(args) => &args.output,
            Self::Adopt(args) => &args.output,
        }
    }
}

impl DeployCommand {
    fn output(&self) -> &Output {
        match self {
            Self::Status(args) => &args.output,
            Self::Resume(args) => &args.output,
            Self::History(args) | Self::Candidates(args) | Self::Approvals(args) | Self::Drills(args) => {
                &args.output
            }
            Self::Approve(args) | Self::Reject(args) => &args.output,
            Self::Validate(args) => &args.output,
            Self::Diff(args) => &args.output,
            Self::Promote(args) => &args.output,
            Self::Pause(args) => &args.output,
            Self::Rollback(args) => &args.output,
            Self::Drill(args) => &args.output,
            Self::Rollbacks(Rollbacks { command: Some(RollbacksCommand::Show { output, .. }), .. }) => output,
            Self::Rollbacks(args) => &args.output,
            Self::Hold(args) | Self::Unhold(args) => &args.output,
        }
    }
}

impl TokenCommand {
    fn output(&self) -> &Output {
        match self {
            Self::Create(args) => &args.output,
            Self::List(output) | Self::Revoke { output, .. } => output,
        }
    }
}

impl DaemonCommand {
    fn output(&self) -> Option<&Output> {
        match self {
            Self::Run { .. } => None,
            Self::Start(output)
            | Self::Restart(output)
            | Self::Status(output)
            | Self::Stop { output, .. } => Some(output),
        }
    }
}

impl NotifyCommand {
    fn output(&self) -> &Output {
        match self {
            Self::Test(args) => &args.output,
            Self::Status { output, .. } | Self::Flush { output, .. } => output,
        }
    }
}

impl AuditCommand {
    fn output(&self) -> &Output {
        match self {
            Self::List { output, .. } => output,
            Self::Verify(args) => &args.output,
            Self::Head(args) => &args.output,
        }
    }
}

impl DbCommand {
    fn output(&self) -> &Output {
        match self {
            Self::Backup(args) => &args.output,
            Self::Check(output) => output,
            Self::Restore(args) => &args.output,
        }
    }
}

impl SecretsCommand {
    fn output(&self) -> &Output {
        match self {
            Self::List(args) => &args.output,
            Self::Rotate { output, .. } => output,
        }
    }
}
