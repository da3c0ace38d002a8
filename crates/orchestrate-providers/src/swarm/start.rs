//! Making sure that the wanted instances are there.

use std::sync::Arc;

use bollard::models::ServiceSpec;
use futures_util::future::try_join_all;
use orchestrate_core::ports::{Instance, PortResult, StartRequest};

use super::labels::Who;
use super::shared::Shared;
use super::stop::remove;
use super::{anchor, look, privileges, secrets, service};
use crate::docker::engine::{is_status, told};
use crate::docker::reference::registry;
use crate::docker::{Docker, credentials};
use crate::spec::RunSpec;

pub(super) async fn start(
    shared: &Arc<Shared>,
    containers: &Docker,
    request: &StartRequest,
) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    let gate = shared.gate(&placement.environment, placement.slot);
    let _turn = gate.lock().await;
    anchor::accept(shared, &placement.environment, request.fence).await?;
    shared.watch(&placement.environment);
    let spec = shared.spec(placement.release).await?;
    privileges::check(shared, &spec).await?;
    let seen = look::look(shared, &placement.environment).await?;
    let in_the_way: Vec<_> = seen
        .iter()
        .filter(|one| {
            one.who.placement.slot == placement.slot && one.who.placement.release != placement.release
        })
        .collect();
    remove(shared, &in_the_way).await?;
    let wanted: Vec<Who> = spec
        .wanted(request.processes, request.counts.as_ref())
        .map(|one| Who { placement: placement.clone(), process: one.process.to_owned(), number: one.number })
        .collect();
    let missing: Vec<&Who> = wanted.iter().filter(|who| !seen.iter().any(|one| one.who == **who)).collect();
    let laid = match missing.is_empty() {
        true => secrets::Laid::default(),
        false => secrets::lay(shared, containers, &spec, placement).await?,
    };
    let made = try_join_all(missing.into_iter().map(|who| create(shared, &spec, who, &laid))).await;
    // Somebody may have gone on while this one slept: then nothing of it may stay.
    if let Err(error) = anchor::accept(shared, &placement.environment, request.fence).await {
        take_back(shared, made.unwrap_or_default()).await;
        return Err(error);
    }
    made?;
    shared.changed();
    let now = look::look(shared, &placement.environment).await?;
    Ok(now.into_iter().filter(|one| wanted.contains(&one.who)).map(|one| one.instance).collect())
}

/// The name of the service that was made; none if it was there.
async fn create(
    shared: &Shared,
    spec: &RunSpec,
    who: &Who,
    laid: &secrets::Laid,
) -> PortResult<Option<String>> {
    let mut wanted = service::of_instance(shared, spec, who)?;
    if let Some(container) = wanted.task_template.as_mut().and_then(|task| task.container_spec.as_mut()) {
        container.secrets = laid.of(&who.process);
    }
    let name = wanted.name.clone().unwrap_or_default();
    let cannot = |error: &bollard::errors::Error| told(&format!("{} cannot be started", who.id()), error);
    match shared.client().await?.create_service(wanted.clone(), login(spec).await).await {
        Ok(_) => Ok(Some(name)),
        Err(error) if is_status(&error, 409) => {
            adopt(shared, &name, wanted, who).await?;
            Ok(None)
        }
        Err(error) => Err(cannot(&error)),
    }
}

/// An earlier attempt got so far, or it was being stopped: it is wanted again.
async fn adopt(shared: &Shared, name: &str, wanted: ServiceSpec, who: &Who) -> PortResult<()> {
    let Some((version, there)) = shared.version_of(name).await? else { return Ok(()) };
    let ours = there.labels.as_ref().and_then(Who::read).is_some_and(|there| there == *who)
        && there.labels.as_ref().and_then(|labels| labels.get(super::labels::OWNER)) == Some(&shared.owner);
    if !ours {
        return Err(orchestrate_core::ports::PortError::failed(format!(
            "a service named {name} is there and is none of ours"
        ))
        .detail(format!("see whose it is: docker service inspect {name}")));
    }
    super::stop::update(shared, name, version, wanted).await
}

/// Credentials for the nodes that pull the image.
async fn login(spec: &RunSpec) -> Option<bollard::auth::DockerCredentials> {
    let pinned = spec.image.as_ref()?.pinned.as_deref()?;
    credentials::of_registry(registry(pinned)).await.ok().flatten()
}

async fn take_back(shared: &Shared, made: Vec<Option<String>>) {
    let Ok(client) = shared.client().await else { return };
    for name in made.into_iter().flatten() {
        if let Err(error) = client.delete_service(&name).await {
            tracing::warn!(service = name, %error, "what was started too late is left");
        }
    }
}
