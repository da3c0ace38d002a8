//! Whether a release can be started as it was sealed: the cluster is asked, and changes nothing.

use orchestrate_core::name::Version;
use orchestrate_core::ports::{Fetch, Placement, PortError, PortResult};
use orchestrate_core::slot::Slot;

use super::api::Kind;
use super::manifests;
use super::objects::Release;
use super::provider::Shared;

/// Secrets can be read, the cluster answers, the namespace is there, and it would take every object.
pub(super) async fn fetch(shared: &Shared, request: &Fetch) -> PortResult<()> {
    let spec = shared.specs.run_spec(request.release).await?;
    let site = shared.site(&spec.environment, Some(&spec)).await?;
    let version: Version = spec.version.clone();
    // Which slot does not matter to whether it can be: one that is there already must not be in the way.
    let placement = Placement {
        environment: spec.environment.clone(),
        slot: Slot::Blue,
        release: request.release,
        version,
    };
    let release = Release { names: &site.names, spec: &spec, placement: &placement };
    let settings = release.settings();
    let usable = manifests::check(
        &spec.engine.manifests,
        &settings,
        Some(&site.cluster.namespace),
        release.is_routed(),
    );
    usable.map_err(|why| PortError::failed(format!("the manifests cannot be used: {why}")))?;
    for contents in release.contents()? {
        let kind = if contents.secret { Kind::Secret } else { Kind::ConfigMap };
        site.cluster.try_apply(kind, &contents.object(&site.names, 0)).await?;
    }
    for (process, kind) in &spec.processes {
        let mut object = release.deployment(process, kind, kind.instances)?;
        object["metadata"]["name"] = site.names.trial(process).into();
        site.cluster.try_apply(Kind::Deployment, &object).await?;
    }
    Ok(())
}
