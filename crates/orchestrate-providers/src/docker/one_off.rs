//! A command that is run once, in a container of the sealed image. It does not outlive its time, nor whoever asked.

use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, LogsOptionsBuilder};
use futures_util::StreamExt as _;
use orchestrate_core::confinement::Confinement;
use orchestrate_core::ports::{Ended, OneOff, PortError, PortErrorKind, PortResult};
use tokio::time::timeout;

use super::container::{self, HOME, ONCE};
use super::engine::told;
use super::look::{self, Seen};
use super::secrets;
use super::shared::Shared;
use crate::process::output;
use crate::spec::RunSpec;

/// Lines of output that are kept as evidence.
const LINES: usize = 10;
/// How long its output may take to arrive once it ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(50);

pub(super) async fn run(shared: &Arc<Shared>, one_off: &OneOff) -> PortResult<Ended> {
    let placement = &one_off.placement;
    let spec = shared.spec(placement.release).await?;
    if one_off.command.is_empty() {
        return Err(PortError::failed(format!("{} has no command", one_off.name)));
    }
    shared.hear();
    let id = format!("once-{}", plain(&one_off.name));
    let name = shared.new_name(&placement.environment, &id);
    let own = [("ORCHESTRATE_INSTANCE", Some(name.clone()))];
    let mut body = container::common(shared, &spec, placement, &spec.confinement, own)?;
    body.cmd = Some(one_off.command.clone());
    body.labels.get_or_insert_default().insert(ONCE.into(), plain(&one_off.name));
    let more = one_off.variables.iter().map(|(name, value)| format!("{name}={value}"));
    body.env.get_or_insert_default().extend(more);
    // From the first moment on: whoever asked may be gone by now.
    let _guard = RemovedOnDrop::new(shared, &name);
    container::create_and_start(shared, &spec, &name, body).await?;
    let ended = timeout(one_off.timeout.duration(), end_of(shared, &name)).await;
    if ended.is_err() {
        container::kill(shared, &name).await;
    }
    let output = keep_output(shared, one_off, &name).await;
    match ended {
        Ok(ended) => {
            let (how, code) = ended?;
            Ok(Ended { success: code == 0, how, code: i32::try_from(code).ok(), output })
        }
        Err(_) => {
            let command = one_off.command.join(" ");
            let message = format!("`{command}` did not end within {} and was ended", one_off.timeout);
            let error = PortError::new(PortErrorKind::TimedOut, message);
            Err(if output.is_empty() { error } else { error.detail(output) })
        }
    }
}

/// The number of a user in the image; what only its own list of users says is read from a container that never runs.
pub(super) async fn user_of(shared: &Arc<Shared>, spec: &RunSpec, user: Option<&str>) -> PortResult<u64> {
    let client = shared.engine.client().await?;
    let image = format!("sha256:{}", spec.digest);
    let name = shared.new_name(&spec.environment, "once-user");
    let labels = [(HOME, shared.home_mark.clone()), (ONCE, "user".to_owned())];
    let body = ContainerCreateBody {
        image: Some(image),
        user: user.map(str::to_owned),
        // An image need not say what to run, and this one is not run.
        cmd: Some(vec!["none".to_owned()]),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ContainerCreateBody::default()
    };
    let _guard = RemovedOnDrop::new(shared, &name);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let made = client.create_container(Some(options), body).await;
    made.map_err(|error| told("the user of an image cannot be looked at", &error))?;
    let made = client.inspect_container(&name, None).await;
    let made = made.map_err(|error| told("the user of an image cannot be looked at", &error))?;
    let user = made.config.and_then(|config| config.user).unwrap_or_default();
    secrets::number_of(&client, &name, &user).await
}

/// Waits for the end, and says how it was and with which status.
async fn end_of(shared: &Shared, name: &str) -> PortResult<(String, i64)> {
    loop {
        let client = shared.engine.client().await?.with_timeout(Duration::from_secs(24 * 3600));
        // However that ends, what counts is how the container is then.
        let _ = client.wait_container(name, None).next().await;
        match look::look(shared, name).await? {
            Seen::Ended(end) => return Ok((end.how, end.status)),
            Seen::Running(_) | Seen::Restarting(_) => tokio::time::sleep(ASK_AGAIN).await,
            Seen::Missing => return Err(PortError::failed(format!("{name} was removed while it ran"))),
        }
    }
}

/// Puts all of its output into its log, and returns the last lines.
async fn keep_output(shared: &Shared, one_off: &OneOff, name: &str) -> String {
    let log = shared.log(&one_off.placement, &plain(&one_off.name), 1);
    let kept = timeout(LAST_WORDS, async {
        let client = shared.engine.client().await?;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let frames: Vec<Result<LogOutput, _>> = client.logs(name, Some(options)).collect().await;
        let mut all = Vec::new();
        for frame in frames {
            all.extend_from_slice(frame.map_err(|error| told("its output cannot be read", &error))?.as_ref());
        }
        let written = output::open(&log, &Confinement::default())
            .and_then(|(mut file, _)| std::io::Write::write_all(&mut file, &all));
        written.map_err(|cause| PortError::failed(format!("{} cannot be written: {cause}", log.display())))
    });
    match kept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the output of what was run once is not kept"),
        Err(_) => tracing::warn!(container = name, "its output does not arrive"),
    }
    look::last_lines(shared, name, LINES).await.join("\n")
}

/// A name that can be a part of a file's and of a container's name.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

struct RemovedOnDrop {
    shared: Arc<Shared>,
    name: String,
}

impl RemovedOnDrop {
    fn new(shared: &Arc<Shared>, name: &str) -> Self {
        shared.begin_one_off(name);
        Self { shared: Arc::clone(shared), name: name.to_owned() }
    }
}

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
        // Without a runtime the program ends; the next daemon removes it then.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = container::remove(&shared, &name).await {
                    tracing::warn!(container = name, %error, "what was run once is left");
                }
                shared.end_one_off(&name);
            });
        }
    }
}
