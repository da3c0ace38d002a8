//! What an instance writes is copied into its log in the home while it runs, where all commands look for it.
//!
//! How far that came is kept beside it, so that nothing is copied twice by the next daemon.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use orchestrate_core::confinement::Confinement;
use orchestrate_core::time::Timestamp;
use tokio::time::{sleep, timeout};

use super::engine::is_status;
use super::keeper::{Keeper, Status};
use super::shared::Shared;
use crate::process::output;

const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Ends once all that the instance wrote is in its log, and it is told to stop.
pub(super) async fn follow(shared: Arc<Shared>, keeper: Arc<Keeper>) {
    loop {
        let before = keeper.status();
        let ending = before.ended;
        match copy(&shared, &keeper, &before.container, !ending).await {
            Ok(()) if ending => break,
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(instance = %keeper.id, %error, "its output cannot be followed now");
                if ending {
                    break;
                }
            }
        }
        let another = |now: &Status| {
            now.ended || now.container != before.container || (now.run != before.run && now.run.is_some())
        };
        let _ = timeout(ASK_AGAIN, keeper.status.subscribe().wait_for(another)).await;
        if !keeper.status.borrow().ended {
            // The engine writes the last of it down in a moment.
            sleep(Duration::from_millis(20)).await;
        }
    }
    let cursor = Cursor::path(&shared, &keeper.status.borrow().container);
    let _ = fs::remove_file(cursor);
    keeper.status.send_modify(|status| status.output_done = true);
}

/// Copies what is there; until the container ends, if it is to be followed.
async fn copy(shared: &Shared, keeper: &Keeper, container: &str, follow: bool) -> Result<(), String> {
    let client = shared.engine.client().await.map_err(|error| error.message)?;
    let mut cursor = Cursor::open(shared, container).map_err(|error| error.to_string())?;
    let log = shared.log(&keeper.placement, &keeper.process, keeper.number);
    let (mut file, _) = output::open(&log, &Confinement::default()).map_err(|error| error.to_string())?;
    let since = cursor.at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let since = since.and_then(|since| i32::try_from(since.as_millis() / 1000).ok()).unwrap_or(0);
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(follow)
        .since(since)
        .build();
    let mut frames = std::pin::pin!(client.logs(container, Some(options)));
    // Told again from the beginning of the second.
    let known = cursor.at.clone();
    while let Some(frame) = frames.next().await {
        let frame = match frame {
            Ok(frame) => frame.into_bytes(),
            Err(error) if is_status(&error, 404) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let Some((at, text)) = split(&frame) else { continue };
        if known.as_deref().is_some_and(|known| at <= known) {
            continue;
        }
        file.write_all(text).map_err(|error| error.to_string())?;
        cursor.move_to(at).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A piece of output, and when it was written. Such times, all in UTC and with nine digits, are ordered as text is.
fn split(frame: &[u8]) -> Option<(&str, &[u8])> {
    let end = frame.iter().position(|byte| *byte == b' ')?;
    Some((std::str::from_utf8(&frame[..end]).ok()?, &frame[end + 1..]))
}

/// The time of the newest piece that was copied.
struct Cursor {
    file: fs::File,
    at: Option<String>,
}

impl Cursor {
    fn path(shared: &Shared, container: &str) -> PathBuf {
        shared.home.join("docker-output").join(container)
    }

    fn open(shared: &Shared, container: &str) -> io::Result<Self> {
        let path = Self::path(shared, container);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(&path))?;
        let at = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        Ok(Self { file, at: Some(at).filter(|at| !at.is_empty()) })
    }

    /// One write, so that a daemon that is killed leaves a whole time; it need not outlive a loss of power.
    fn move_to(&mut self, at: &str) -> io::Result<()> {
        self.file.write_all_at(format!("{at}\n").as_bytes(), 0)?;
        self.at = Some(at.to_owned());
        Ok(())
    }
}
