//! A command that is run once in the place of a release: its directory, its variables, its secrets. It does not outlive
//! its time, nor whoever asked for it.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::ports::{Ended, OneOff, PortError, PortErrorKind, PortResult};
use tokio::time::timeout;

use super::command::{self, INSTANCE_VARIABLE};
use super::confine;
use super::output::{self, last_lines};
use super::proc_table;
use super::running::Running;
use super::shared::{Shared, blocking};

/// What the names of these commands begin with, where instances have their slot.
const MARK: &str = "once-";
/// How long it may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of output that are kept as evidence.
const LINES: usize = 10;

pub(super) async fn run(shared: &Arc<Shared>, one_off: &OneOff) -> PortResult<Ended> {
    let log = shared.log(&one_off.placement, &plain(&one_off.name), 1);
    let (guard, output_from) = spawn(shared, one_off, log.clone()).await?;
    let running = &guard.running;
    let in_time = timeout(one_off.timeout.duration(), running.ended()).await.is_ok();
    let how = running.how_it_ended();
    // What it left behind ends with it.
    running.end_group(PATIENCE).await;
    guard.disarm();
    let output = last_lines(&log, output_from, LINES).join("\n");
    if !in_time {
        let error = PortError::new(
            PortErrorKind::TimedOut,
            format!("`{}` did not end within {} and was ended", one_off.command.join(" "), one_off.timeout),
        );
        return Err(if output.is_empty() { error } else { error.detail(output) });
    }
    let success = how.is_some_and(|ending| ending.is_success());
    let code = how.and_then(|ending| ending.status());
    Ok(Ended {
        success,
        how: how.map_or_else(|| "ended".to_owned(), |ending| ending.to_string()),
        code,
        output,
    })
}

async fn spawn(shared: &Arc<Shared>, one_off: &OneOff, log: PathBuf) -> PortResult<(KilledOnDrop, u64)> {
    let (shared, one_off) = (Arc::clone(shared), one_off.clone());
    let spec = shared.spec(one_off.placement.release).await?;
    blocking(move || {
        let (placement, name) = (&one_off.placement, &one_off.name);
        let directory = shared.directory(placement);
        let program =
            command::find(one_off.command.first(), &format!("{name} has no command"), &spec, &directory)?;
        let failed = |what: &str, cause: std::io::Error| PortError::failed(format!("{name} {what}: {cause}"));
        let (stdout, output_from) = output::open(&log, &spec.confinement)
            .map_err(|cause| failed("cannot write its output", cause))?;
        let stderr = stdout.try_clone().map_err(|cause| failed("cannot write its output", cause))?;
        let token = shared.new_token(&format!("{MARK}{}", plain(name)), placement.release);
        let mut variables = command::environment(&spec, placement, &format!("{token}.0"), None)?;
        confine::adapt(&mut variables, &spec.confinement)?;
        let mut child = confine::command(&program, &one_off.command, &spec.confinement)?
            .current_dir(&directory)
            .env_clear()
            .envs(variables)
            .envs(&one_off.variables)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|cause| command::cannot_run(&program, &directory, &cause))?;
        match command::hold(child.id()) {
            // From the first moment on: whoever asked may be gone by now.
            Ok(running) => Ok((KilledOnDrop { running, armed: true }, output_from)),
            Err(cause) => {
                // What cannot be watched must not run.
                let _ = child.kill().and_then(|()| child.wait());
                Err(failed("cannot be watched", cause))
            }
        }
    })
    .await
}

/// Ends what earlier daemons of this home left running when they were killed.
pub(super) async fn end_leftovers(shared: Arc<Shared>) {
    let mark = shared.home_mark.clone();
    let found = blocking(move || {
        let ours = |name: &str| {
            name.starts_with(MARK) && name.rsplit('.').nth(1).is_some_and(|token| token.starts_with(&mark))
        };
        let mut bearers = proc_table::bearers(INSTANCE_VARIABLE);
        bearers.retain(|bearer| bearer.variable(INSTANCE_VARIABLE).is_some_and(ours));
        Ok(bearers)
    });
    for bearer in found.await.unwrap_or_default() {
        if let Ok(Some(running)) = Running::hold(bearer.mark) {
            tracing::info!(pid = bearer.mark.pid, "a command that an earlier daemon left is ended");
            running.end_group(PATIENCE).await;
        }
    }
}

/// A name that can be a part of a file's name and of a token.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

/// Whoever waits may stop waiting: then the command has nobody left to tell.
struct KilledOnDrop {
    running: Running,
    armed: bool,
}

impl KilledOnDrop {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.running.kill_group();
        }
    }
}
