//! A program of this machine: the notice as JSON on its stdin, status 0 is acceptance.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use orchestrate_core::ports::{DeliveryError, Notice};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::http::{later, never};
use crate::message::Event;
use crate::redact::one_line;

/// More of what it prints is not kept.
const PRINTED_BYTES: u64 = 2_048;

/// Ends the program, and all that it started, when it is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It is gone already where there is nobody to tell.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

pub(crate) async fn deliver(
    notice: &Notice,
    command: &[String],
    limit: Duration,
) -> Result<(), DeliveryError> {
    let Some((program, arguments)) = command.split_first() else { return Err(never("there is no command")) };
    let mut child = Command::new(program);
    child.args(arguments).process_group(0).kill_on_drop(true);
    // Neither what this program was told in confidence, nor its key.
    child
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME" || name == "LANG"));
    child.env("ORCHESTRATE_NOTICE_KEY", &notice.key).env("ORCHESTRATE_NOTICE_KIND", notice.kind.as_str());
    child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = child.spawn().map_err(|error| later(format!("{program} cannot be started: {error}")))?;
    let mut group = Group(child);
    let input = Event::with_its_key(notice).bytes()?;
    match timeout(limit, talk(&mut group.0, &input)).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => Err(later(format!("{program} ended with {status}{}", shown(&said)))),
        Ok(Err(error)) => Err(later(format!("{program} could not be waited for: {error}"))),
        Err(_) => Err(later(format!("{program} did not end within {limit:?}"))),
    }
}

async fn talk(child: &mut Child, input: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (mut stdin, mut stderr) = (child.stdin.take(), child.stderr.take());
    let feeding = async move {
        if let Some(stdin) = &mut stdin {
            // Whoever does not read it has closed its end.
            let _ = stdin.write_all(input).await;
        }
    };
    let listening = async move {
        let mut said = Vec::new();
        if let Some(stderr) = &mut stderr {
            let _ = stderr.take(PRINTED_BYTES).read_to_end(&mut said).await;
            // The rest is read so that it can go on, and thrown away.
            let _ = tokio::io::copy(stderr, &mut tokio::io::sink()).await;
        }
        said
    };
    let ((), said, status) = tokio::join!(feeding, listening, child.wait());
    Ok((status?, said))
}

fn shown(said: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(said)).map_or_else(String::new, |line| format!(": {line}"))
}
