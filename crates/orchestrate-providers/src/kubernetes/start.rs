//! Starting: the sealed release is applied as it is. In a slot another release goes first; where the cluster itself rolls,
//! it takes the other one's place pod by pod.

use std::time::Duration;

use orchestrate_core::name::Fence;
use orchestrate_core::ports::{Instance, Placement, PortError, PortErrorKind, PortResult, StartRequest};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::anchor;
use super::api::{ApiResult, Kind};
use super::fault::Fault;
use super::follow;
use super::live::{Deployed, Previous};
use super::names::{PROCESS, Track};
use super::object::Object;
use super::objects::{PREVIOUS, Release};
use super::owners;
use super::provider::{Shared, deployed, instances};
use super::site::Site;
use super::stop::{await_gone, remove};
use crate::spec::RunSpec;

/// How long the controller of Deployments may take to see what was applied.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn start(shared: &Shared, request: &StartRequest) -> PortResult<Vec<Instance>> {
    let placement = &request.placement;
    let spec = shared.specs.run_spec(placement.release).await?;
    let site = shared.site(&placement.environment, Some(&spec)).await?;
    anchor::claim(&site, request.fence).await?;
    let release = Release { names: &site.names, spec: &spec, placement };
    if let Track::Slot(_) = release.track() {
        make_room(&site, placement).await?;
    }
    apply_contents(&site, &release, request.fence.0).await?;
    let mut applied = Vec::new();
    for (process, kind) in &spec.processes {
        let counts = request.counts.as_ref();
        let most = counts.map_or(kind.instances, |counts| counts.get(process).copied().unwrap_or(0));
        let wanted = kind.instances.min(most);
        if request.processes.includes(kind.listen) && wanted > 0 {
            anchor::claim(&site, request.fence).await?;
            applied.push(apply(&site, &release, process, wanted, None, request.fence).await?);
        }
    }
    await_seen(&site, &applied).await;
    let mut all = instances(&site).await?;
    all.retain(|one| one.placement == *placement && is_wanted(&spec, request, one));
    Ok(all)
}

fn is_wanted(spec: &RunSpec, request: &StartRequest, instance: &Instance) -> bool {
    spec.processes.get(&instance.process).is_some_and(|kind| request.processes.includes(kind.listen))
}

/// Another release in the slot is stopped first.
async fn make_room(site: &Site, placement: &Placement) -> PortResult<()> {
    let others: Vec<Deployed> = deployed(site)
        .await?
        .into_iter()
        .filter(|one| one.track == Track::Slot(placement.slot) && one.placement.release != placement.release)
        .collect();
    for other in &others {
        remove(site, other).await?;
    }
    for other in &others {
        await_gone(site, &other.placement, &[&other.process], Duration::ZERO).await?;
    }
    Ok(())
}

pub(super) async fn apply_contents(site: &Site, release: &Release<'_>, fence: i64) -> PortResult<()> {
    for contents in release.contents()? {
        let kind = if contents.secret { Kind::Secret } else { Kind::ConfigMap };
        if let Some(there) = site.cluster.get(kind, &contents.name).await?
            && !site.names.is_ours(&there)
        {
            return Err(anchor::not_ours(
                if contents.secret { "Secret" } else { "ConfigMap" },
                &contents.name,
            ));
        }
        let wanted = contents.object(&site.names, fence);
        let mut applied = site.cluster.apply(kind, &wanted).await?;
        // What somebody else added stays with an apply, and an instance would get it.
        if applied.0["data"] != wanted["data"] {
            applied.0["data"] = wanted["data"].clone();
            site.cluster.replace(kind, &applied).await?;
        }
    }
    Ok(())
}

/// What is to be remembered as rolled over, beside what is there.
pub(super) type Over = Option<Option<Previous>>;

/// Applies one process type, on top of what was read: if somebody else changed that meanwhile, it is read anew, unless that
/// was a newer operation.
pub(super) async fn apply(
    site: &Site,
    release: &Release<'_>,
    process: &str,
    wanted: u32,
    over: Over,
    fence: Fence,
) -> PortResult<Applied> {
    const ROUNDS: u32 = 10;
    let kind = release.spec.processes.get(process).ok_or_else(|| {
        PortError::new(PortErrorKind::Missing, format!("{} has no {process}", release.placement.version))
    })?;
    let name = site.names.deployment(release.track(), process);
    let mut round = 0;
    loop {
        let there = site.cluster.get(Kind::Deployment, &name).await?;
        let there = there.map(|object| owned(site, &name, process, object)).transpose()?;
        let same = there.as_ref().filter(|there| there.placement == *release.placement);
        // What runs beyond the first ones is left alone.
        let instances = same.map_or(wanted, |there| there.instances.max(wanted));
        let mut object = release.deployment(process, kind, instances)?;
        let previous = match (&over, &there) {
            (Some(said), _) => said.clone(),
            (None, Some(there)) if there.placement == *release.placement => there.previous.clone(),
            (None, Some(there)) => Some(Previous::of(&there.placement)),
            (None, None) => None,
        };
        if let Some(previous) = previous {
            object["metadata"]["annotations"][PREVIOUS] = json!(previous).to_string().into();
        }
        round += 1;
        match apply_over(site, there.as_ref(), object).await {
            Ok(applied) => {
                return Ok(Applied { name, generation: applied.number("/metadata/generation").unwrap_or(0) });
            }
            Err(Fault::Refused(refusal))
                if (refusal.is_conflict() || refusal.is_missing()) && round < ROUNDS =>
            {
                anchor::claim(site, fence).await?;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Whatever somebody else added to the spec of what was read is gone after it.
async fn apply_over(site: &Site, there: Option<&Deployed>, mut object: Value) -> ApiResult<Object> {
    if let Some(there) = there {
        object["metadata"]["resourceVersion"] = owners::take_over(site, &there.object).await?.into();
    }
    site.cluster.apply(Kind::Deployment, &object).await
}

/// A Deployment of the wanted name must be ours, for this very process type.
fn owned(site: &Site, name: &str, process: &str, object: Object) -> PortResult<Deployed> {
    if object.is_leaving() {
        return Err(PortError::unreachable(format!("the Deployment {name} is being deleted")));
    }
    let ours = site.names.is_ours(&object) && object.annotation(PROCESS) == Some(process);
    let read =
        Some(object).filter(|_| ours).and_then(|object| Deployed::read(object, &site.names.environment));
    read.ok_or_else(|| anchor::not_ours("Deployment", name))
}

pub(super) struct Applied {
    name: String,
    generation: i64,
}

/// Who looks next must not be told of the state before. A controller that is slow is no reason to fail.
pub(super) async fn await_seen(site: &Site, applied: &[Applied]) {
    let seen = follow::until(
        &site.cluster,
        Kind::Deployment,
        site.names.selector(),
        Instant::now() + SEEN_WITHIN,
        |there| {
            let seen = |one: &Applied| {
                there.get(&one.name).is_none_or(|object| {
                    object.number("/status/observedGeneration").unwrap_or(0) >= one.generation
                })
            };
            applied.iter().all(seen).then_some(())
        },
    );
    if let Err(error) = seen.await {
        tracing::debug!(%error, "it was not seen that the cluster took notice");
    }
}

/// Only these fields of a Deployment, for a patch.
pub(super) fn scaled(instances: u32) -> Value {
    json!({
        "metadata": { "annotations": { super::objects::INSTANCES: instances.to_string() } },
        "spec": { "replicas": instances },
    })
}
