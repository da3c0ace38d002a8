//! Sees what changes in a cluster as it changes: a list, then a watch from there on; a new list where the watch was too late.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::api::{ApiResult, Cluster, Kind};
use super::fault::Fault;
use super::object::{Object, Objects};

/// The pause after a watch that could not be had; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Nothing was heard for so long, not even that nothing happened: the connection is dead.
const SILENCE: Duration = Duration::from_secs(330);

type Seen = PortResult<Arc<Objects>>;

/// All objects of a kind with these labels, as they are now. It ends with who looks at it.
pub(super) struct Follow {
    seen: watch::Receiver<Option<Seen>>,
    task: AbortHandle,
}

impl Follow {
    pub fn begin(cluster: &Cluster, kind: Kind, selector: String) -> Self {
        let (sender, seen) = watch::channel(None);
        let cluster = cluster.clone();
        let task = tokio::spawn(async move { follow(&cluster, kind, &selector, &sender).await });
        Self { seen, task: task.abort_handle() }
    }

    /// What there is; waits for the first list.
    pub async fn now(&mut self) -> Seen {
        let ended = || PortError::unreachable("nobody watches the cluster any more");
        let seen = self.seen.wait_for(Option::is_some).await.map_err(|_| ended())?;
        seen.clone().unwrap_or_else(|| Err(ended()))
    }

    /// Returns once something is not as it was when it was last looked at.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until `found` has something in what there is. None at the deadline.
pub(super) async fn until<T>(
    cluster: &Cluster,
    kind: Kind,
    selector: String,
    deadline: Instant,
    mut found: impl FnMut(&Objects) -> Option<T>,
) -> PortResult<Option<T>> {
    let mut follow = Follow::begin(cluster, kind, selector);
    let mut unseen = None;
    loop {
        match in_time(follow.now(), deadline).await {
            Some(Ok(objects)) => match found(&objects) {
                Some(value) => return Ok(Some(value)),
                None => unseen = None,
            },
            // It may answer again in time.
            Some(Err(error)) if error.kind == PortErrorKind::Unreachable => unseen = Some(error),
            Some(Err(error)) => return Err(error),
            None => return unseen.map_or(Ok(None), Err),
        }
        if in_time(follow.changed(), deadline).await.is_none() {
            return unseen.map_or(Ok(None), Err);
        }
    }
}

pub(super) async fn in_time<T>(work: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    tokio::time::timeout_at(deadline, work).await.ok()
}

async fn follow(cluster: &Cluster, kind: Kind, selector: &str, sender: &watch::Sender<Option<Seen>>) {
    let mut pause = PAUSE;
    loop {
        let ended = match list(cluster, kind, selector, sender).await {
            Ok((objects, version)) => keep_up(cluster, (kind, selector), objects, version, sender).await,
            Err(fault) => Err(fault),
        };
        match ended {
            Ok(Heard::Something) => {
                pause = PAUSE;
                continue;
            }
            // A server that takes no version at all is not asked for lists as fast as it answers.
            Ok(Heard::Nothing) => {}
            // Tried several times already, or of no use: who waits is told, and it is tried further on.
            Err(fault) => drop(sender.send_replace(Some(Err(fault.into())))),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn list(
    cluster: &Cluster,
    kind: Kind,
    selector: &str,
    sender: &watch::Sender<Option<Seen>>,
) -> ApiResult<(Objects, String)> {
    let (items, version) = cluster.list(kind, selector).await?;
    let objects: Objects = items.into_iter().map(|object| (object.name().to_owned(), object)).collect();
    sender.send_replace(Some(Ok(Arc::new(objects.clone()))));
    Ok((objects, version))
}

/// Whether a watch was of any use before a new list was needed.
enum Heard {
    Something,
    Nothing,
}

/// One watch after another; returns when only a new list can help. Errors: the cluster refuses to be watched.
async fn keep_up(
    cluster: &Cluster,
    (kind, selector): (Kind, &str),
    mut objects: Objects,
    mut version: String,
    sender: &watch::Sender<Option<Seen>>,
) -> ApiResult<Heard> {
    let (mut pause, mut heard) = (PAUSE, Heard::Nothing);
    while pause < LONGEST_PAUSE {
        let mut wished = None;
        match cluster.watch(kind, selector, &version).await {
            Ok(response) => {
                let mut lines = Lines::of(response.into_body());
                while let Some(line) = lines.next().await {
                    match event(&line, &mut objects) {
                        Event::Changed(newer) => {
                            version = newer;
                            sender.send_replace(Some(Ok(Arc::new(objects.clone()))));
                        }
                        Event::Bookmark(newer) => version = newer,
                        Event::Lost => return Ok(heard),
                    }
                    (pause, heard) = (PAUSE, Heard::Something);
                }
            }
            Err(Fault::Refused(refusal)) if refusal.needs_a_list() => return Ok(heard),
            Err(Fault::Refused(refusal)) if !refusal.may_pass() => return Err(Fault::Refused(refusal)),
            Err(fault) => {
                tracing::debug!(?fault, "a watch of the cluster could not be had");
                wished = fault.pause();
            }
        }
        tokio::time::sleep(wished.unwrap_or(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(heard)
}

enum Event {
    Changed(String),
    Bookmark(String),
    /// The server does not know the version any more, or speaks in another way.
    Lost,
}

fn event(line: &[u8], objects: &mut Objects) -> Event {
    let Ok(mut event) = serde_json::from_slice::<Value>(line) else { return Event::Lost };
    let object = Object(event["object"].take());
    let version = object.version().to_owned();
    match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => drop(objects.insert(object.name().to_owned(), object)),
        Some("DELETED") => drop(objects.remove(object.name())),
        Some("BOOKMARK") => return Event::Bookmark(version),
        _ => return Event::Lost,
    }
    Event::Changed(version)
}

/// The lines of a body, as they come.
pub(super) struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    pub const fn of(body: Body) -> Self {
        Self { body, buffer: Vec::new() }
    }

    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Some(line);
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await.ok()??.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.buffer.extend_from_slice(&bytes);
            }
        }
    }
}
