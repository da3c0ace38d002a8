//! Runs one command to its end: a process group of its own, a time limit, a bounded answer.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use orchestrate_core::ports::{Ended, Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::turn::Turn;
use crate::process::{
    Ending, Running, blocking, cannot_run, find_program, hold, last_lines, open_log, variables_of,
};
use crate::spec::RunSpec;

/// More of an answer than this is a flood.
const MOST_ANSWER: usize = 1 << 20;
/// How long it may take to end after SIGTERM, and how long what it left behind may.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long its stdout is read after its end, where somebody else holds it open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Lines of its stderr that are shown with an error.
const LINES: usize = 10;
/// A log that grew to this is set aside once.
const MOST_LOG: u64 = 4 << 20;

/// A command, and where it runs.
pub struct Call<'a> {
    /// How messages name it, e.g. `` `./ops start` (start of 1.2.0) ``.
    pub who: String,
    pub words: &'a [String],
    pub spec: &'a RunSpec,
    pub placement: &'a Placement,
    /// What it is known by in its environment.
    pub name: String,
    pub directory: PathBuf,
    pub log: PathBuf,
    pub limit: Span,
    pub variables: Vec<(String, String)>,
}

/// How it ended, and what it printed.
pub struct Printed {
    pub stdout: Vec<u8>,
    pub how: String,
    pub code: Option<i32>,
    pub success: bool,
    /// The end of its stderr.
    pub stderr: String,
}

/// Runs it, with `stdin` to read. Whatever is left of its process group when it ended is ended too.
pub async fn run(call: &Call<'_>, stdin: Vec<u8>, turn: Option<&Turn>) -> PortResult<Printed> {
    let (mut guard, input, output, log_from) = spawn(call).await?;
    if let Some(turn) = turn {
        turn.note(guard.running.mark);
    }
    let mut stdout = Vec::new();
    let ended = timeout(call.limit.duration(), talk(&guard.running, input, output, stdin, &mut stdout)).await;
    let ending = guard.running.how_it_ended();
    guard.running.end_group(PATIENCE).await;
    guard.armed = false;
    let stderr = last_lines(&call.log, log_from, LINES).join("\n");
    let told = |error: PortError| if stderr.is_empty() { error } else { error.detail(stderr.clone()) };
    match ended {
        Err(_) => Err(told(PortError::new(
            PortErrorKind::TimedOut,
            format!("{} did not end within {} and was ended", call.who, call.limit),
        ))),
        Ok(Talk::Flood) => Err(told(PortError::failed(format!(
            "{} printed more than {} MiB on stdout and was ended",
            call.who,
            MOST_ANSWER >> 20
        )))),
        Ok(Talk::Over) => Ok(Printed {
            stdout,
            how: ending.map_or_else(|| "ended".to_owned(), |ending| ending.to_string()),
            code: ending.and_then(Ending::status),
            success: ending.is_some_and(Ending::is_success),
            stderr,
        }),
    }
}

/// Runs a command that is told nothing, and says how it ended.
pub async fn once(call: &Call<'_>) -> PortResult<Ended> {
    let printed = run(call, Vec::new(), None).await?;
    let text = String::from_utf8_lossy(&printed.stdout);
    let output = [text.trim_end(), printed.stderr.as_str()].join("\n").trim().to_owned();
    Ok(Ended { success: printed.success, how: printed.how, code: printed.code, output })
}

enum Talk {
    Over,
    Flood,
}

/// Gives it its stdin and takes its stdout until it has ended.
async fn talk(
    running: &Running,
    mut input: ChildStdin,
    mut output: ChildStdout,
    stdin: Vec<u8>,
    stdout: &mut Vec<u8>,
) -> Talk {
    let write = async {
        // A command need not read what it is told.
        let _ = input.write_all(&stdin).await;
        drop(input);
        std::future::pending::<()>().await;
    };
    let mut buffer = [0; 16 * 1024];
    tokio::pin!(write);
    let mut has_ended = false;
    loop {
        let read = tokio::select! {
            read = output.read(&mut buffer) => read,
            () = &mut write => continue,
            () = running.ended(), if !has_ended => {
                has_ended = true;
                continue;
            }
            // Somebody that it left behind still holds its stdout; what it printed itself was read by now.
            () = tokio::time::sleep(LAST_WORDS), if has_ended => return Talk::Over,
        };
        match read {
            Ok(0) | Err(_) if has_ended => return Talk::Over,
            Ok(0) | Err(_) => {
                // It closed its stdout and goes on.
                tokio::select! { () = running.ended() => {}, () = &mut write => {} }
                return Talk::Over;
            }
            Ok(count) => stdout.extend_from_slice(&buffer[..count]),
        }
        if stdout.len() > MOST_ANSWER {
            return Talk::Flood;
        }
    }
}

/// Killed with everything that it started, if whoever asked for it is gone.
struct Guard {
    running: Running,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.running.kill_group();
        }
    }
}

async fn spawn(call: &Call<'_>) -> PortResult<(Guard, ChildStdin, ChildStdout, u64)> {
    let program =
        find_program(call.words.first(), &format!("{} has no command", call.who), call.spec, &call.directory)
            .map_err(|error| named(&call.who, error))?;
    let failed =
        |what: &str, cause: std::io::Error| PortError::failed(format!("{} {what}: {cause}", call.who));
    set_aside(&call.log);
    let (log, log_from) =
        open_log(&call.log, &Default::default()).map_err(|cause| failed("cannot write its log", cause))?;
    let variables = variables_of(call.spec, call.placement, &call.name, None)?;
    let mut command = Command::new(&program);
    command
        .args(call.words.iter().skip(1))
        .current_dir(&call.directory)
        .env_clear()
        .envs(variables)
        .envs(call.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0);
    let directory = call.directory.clone();
    let (running, stdin, stdout) = blocking(move || {
        let mut child = command.spawn().map_err(|cause| cannot_run(&program, &directory, &cause))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        match hold(child.id()) {
            Ok(running) => Ok((Guard { running, armed: true }, stdin, stdout)),
            Err(cause) => {
                // What cannot be watched must not run.
                let _ = child.kill().and_then(|()| child.wait());
                Err(PortError::failed(format!("{} cannot be watched: {cause}", program.display())))
            }
        }
    })
    .await
    .map_err(|error| named(&call.who, error))?;
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(PortError::failed(format!("{} has no pipes", call.who)));
    };
    let stdin = ChildStdin::from_std(stdin).map_err(|cause| failed("cannot be talked to", cause))?;
    let stdout = ChildStdout::from_std(stdout).map_err(|cause| failed("cannot be listened to", cause))?;
    Ok((running, stdin, stdout, log_from))
}

fn named(who: &str, error: PortError) -> PortError {
    PortError { message: format!("{who} cannot be run: {}", error.message), ..error }
}

/// Keeps a log small; the part before stays beside it.
fn set_aside(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|about| about.len() > MOST_LOG) {
        let _ = std::fs::rename(log, log.with_extension("log.1"));
    }
}
