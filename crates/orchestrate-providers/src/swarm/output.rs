//! What instances write is copied from the swarm into the logs of the home, where all commands look for it.

use std::io::Write as _;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use orchestrate_core::confinement::Confinement;
use orchestrate_core::time::Timestamp;

use super::labels::Who;
use super::shared::Shared;
use crate::process::output::{log_path, open};

/// Copies what is new; what cannot be had now is had the next time.
pub(super) async fn copy(shared: &Shared, who: &Who, service: &str) {
    let mut copied = shared.copied.lock().await;
    let log =
        log_path(&shared.home, &who.placement.environment, &who.placement.version, &who.process, who.number);
    let known = match copied.get(service) {
        Some(known) => known.clone(),
        // What the daemon before this one copied is not copied again.
        None => std::fs::metadata(&log)
            .and_then(|found| found.modified())
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .and_then(|at| i64::try_from(at.as_millis()).ok())
            .map_or_else(String::new, |at| Timestamp::from_millis(at).to_string()),
    };
    let lines = lines(shared, service, &known).await;
    let Some((last, _)) = lines.last() else { return };
    let last = last.clone();
    let written = open(&log, &Confinement::default())
        .and_then(|(mut file, _)| lines.iter().try_for_each(|(_, text)| file.write_all(text)));
    match written {
        Ok(()) => {
            copied.insert(service.to_owned(), last);
        }
        Err(error) => tracing::warn!(log = %log.display(), %error, "output is not kept"),
    }
}

/// The last lines, oldest first.
pub(super) async fn last_lines(shared: &Shared, service: &str, count: usize) -> Vec<String> {
    let all = lines(shared, service, "").await;
    let text = |(_, line): &(String, Vec<u8>)| String::from_utf8_lossy(line).trim_end().to_owned();
    all.iter().skip(all.len().saturating_sub(count)).map(text).collect()
}

/// Every line that was written after the time, with its own time, in the order of time.
async fn lines(shared: &Shared, service: &str, after: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(client) = shared.client().await else { return Vec::new() };
    let since = after.parse::<Timestamp>().ok().and_then(|at| i32::try_from(at.as_millis() / 1000).ok());
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true);
    let options = options.since(since.unwrap_or(0)).build();
    let mut frames = std::pin::pin!(client.service_logs(service, Some(options)));
    let mut lines = Vec::new();
    while let Some(Ok(frame)) = frames.next().await {
        let frame = frame.into_bytes();
        let Some(end) = frame.iter().position(|byte| *byte == b' ') else { continue };
        let at = String::from_utf8_lossy(&frame[..end]).into_owned();
        if at.as_str() > after {
            lines.push((at, frame[end + 1..].to_vec()));
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}
