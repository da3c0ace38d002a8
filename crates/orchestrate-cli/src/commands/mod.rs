//! One file a command: arguments and settings go in, core is called, the result is printed.

mod audit;
mod audit_head;
mod audit_verify;
mod daemon;
mod daemon_restart;
mod db_backup;
mod db_check;
mod db_restore;
mod demo;
mod deploy;
mod deploy_approve;
mod deploy_candidates;
mod deploy_diff;
mod deploy_drill;
mod deploy_history;
mod deploy_hold;
mod deploy_promote;
mod deploy_resume;
mod deploy_rollback;
mod deploy_rollback_group;
mod deploy_rollbacks;
mod deploy_status;
mod deploy_validate;
mod doctor;
mod env;
mod env_adopt;
mod env_prune;
mod evidence;
mod init;
mod intake;
mod logs;
mod man;
mod notify;
mod provider_check;
mod proxy;
mod refusal;
mod report;
mod secrets;
mod static_serve;
mod tokens;

use orchestrate_core::Error;

use crate::args::{
    AuditCommand, Cli, Command, DaemonCommand, DbCommand, DeployCommand, Global, Provider, ProviderCommand,
};
use crate::exit::Ended;
use crate::printer::Printer;

/// Runs the command that was typed.
pub fn run(cli: Cli, printer: &Printer) -> Ended {
    let Cli { global, command } = cli;
    match command {
        Command::Proxy(args) => proxy::run(&args),
        Command::StaticServe(args) => static_serve::run(&args),
        Command::Completions { shell } => man::completions(shell),
        Command::Man => man::page(),
        command => runtime()?.block_on(dispatch(&global, command, printer)),
    }
}

/// One thread is enough: commands and the daemon wait for others most of the time.
fn runtime() -> Ended<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed("ORC-0507", "the program cannot start").source(error).into())
}

async fn dispatch(global: &Global, command: Command, printer: &Printer) -> Ended {
    if !matches!(command, Command::Daemon(_)) {
        daemon_restart::note_another(global, printer).await;
    }
    match command {
        Command::Init(args) => init::run(global, &args, printer),
        Command::Demo(args) => demo::run(&args, printer).await,
        Command::Env(args) => env::run(global, args.command, printer).await,
        Command::Deploy(args) => match args.command {
            None => deploy::run(global, args.run, printer).await,
            Some(command) => deploy_command(global, command, printer).await,
        },
        Command::Provider(Provider { command: ProviderCommand::Check(args) }) => {
            provider_check::run(global, &args, printer).await
        }
        Command::Rollback(args) => deploy_rollback::run(global, args, printer).await,
        Command::Daemon(args) => match args.command {
            DaemonCommand::Run { detached, take_over } => {
                daemon::run(global, crate::daemon::How { detached, take_over }).await
            }
            DaemonCommand::Start(_) => daemon::start(global, printer).await,
            DaemonCommand::Restart(_) => daemon_restart::run(global, printer).await,
            DaemonCommand::Stop { all, .. } => daemon::stop(global, all, printer).await,
            DaemonCommand::Status(_) => daemon::status(global, printer).await,
        },
        Command::Logs(args) => logs::run(global, &args, printer).await,
        Command::Notify(args) => notify::run(global, args.command, printer).await,
        Command::Secrets(args) => secrets::run(global, args.command, printer).await,
        Command::Token(args) => tokens::run(global, args.command, printer).await,
        Command::Report(args) => report::run(global, &args, printer).await,
        Command::Audit(args) => match args.command {
            AuditCommand::List { env, limit, .. } => audit::list(global, env, limit, printer).await,
            AuditCommand::Verify(args) => audit_verify::run(global, &args, printer).await,
            AuditCommand::Head(args) => audit_head::run(global, args.sign, printer).await,
        },
        Command::Db(args) => match args.command {
            DbCommand::Backup(args) => db_backup::run(global, &args, printer).await,
            DbCommand::Check(_) => db_check::run(global, printer).await,
            DbCommand::Restore(args) => db_restore::run(global, &args, printer).await,
        },
        Command::Doctor(_) => doctor::run(global, printer).await,
        Command::SampleService => {
            crate::demo::sample_service::serve().await.map(|()| crate::exit::Exit::DONE).map_err(|error| {
                Error::failed("ORC-0508", format!("the sample service ended: {error:#}")).into()
            })
        }
        Command::Proxy(_) | Command::StaticServe(_) | Command::Completions { .. } | Command::Man => {
            Err(Error::bug("this command needs no runtime").into())
        }
    }
}

async fn deploy_command(global: &Global, command: DeployCommand, printer: &Printer) -> Ended {
    match command {
        DeployCommand::Status(args) => deploy_status::run(global, &args, printer).await,
        DeployCommand::History(args) => deploy_history::run(global, &args, printer).await,
        DeployCommand::Validate(args) => deploy_validate::run(global, args, printer).await,
        DeployCommand::Diff(args) => deploy_diff::run(global, args, printer).await,
        DeployCommand::Candidates(args) => deploy_candidates::run(global, &args, printer).await,
        DeployCommand::Promote(args) => deploy_promote::promote(global, args, printer).await,
        DeployCommand::Pause(args) => deploy_promote::pause(global, args, printer).await,
        DeployCommand::Approve(args) => deploy_approve::say(global, args, true, printer).await,
        DeployCommand::Reject(args) => deploy_approve::say(global, args, false, printer).await,
        DeployCommand::Approvals(args) => deploy_approve::list(global, &args, printer).await,
        DeployCommand::Rollback(args) => deploy_rollback::run(global, args, printer).await,
        DeployCommand::Rollbacks(args) => deploy_rollbacks::run(global, args, printer).await,
        DeployCommand::Drill(args) => deploy_drill::run(global, args, printer).await,
        DeployCommand::Drills(args) => deploy_drill::list(global, &args, printer).await,
        DeployCommand::Resume(args) => deploy_resume::run(global, &args.env, printer).await,
        DeployCommand::Hold(args) => deploy_hold::hold(global, args, printer).await,
        DeployCommand::Unhold(args) => deploy_hold::unhold(global, args, printer).await,
    }
}
