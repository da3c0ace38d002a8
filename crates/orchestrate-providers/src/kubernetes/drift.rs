//! What somebody else changed: the cluster is asked what applying the sealed release again would change, and by whom the
//! Deployment was written beside us.

use orchestrate_core::ports::{Placement, PortResult, Processes};
use serde_json::Value;

use super::api::Kind;
use super::live::Deployed;
use super::names::PROCESS;
use super::object::Object;
use super::objects::Release;
use super::owners;
use super::provider::Shared;
use super::router::selected_otherwise;
use super::site::Site;

/// More differences than this say no more.
const MOST: usize = 5;

pub(super) async fn drift(shared: &Shared, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
    let spec = shared.specs.run_spec(placement.release).await?;
    let site = shared.site(&placement.environment, Some(&spec)).await?;
    let release = Release { names: &site.names, spec: &spec, placement };
    let mut found = Vec::new();
    for (process, kind) in
        spec.processes.iter().filter(|(_, kind)| kind.instances > 0 && of.includes(kind.listen))
    {
        let name = site.names.deployment(release.track(), process);
        match site.cluster.get(Kind::Deployment, &name).await? {
            None => found.push(format!("the Deployment {name} is not there")),
            Some(live) => found.extend(of_deployment(&site, &release, &live, process, kind).await?),
        }
        // Whoever turned the traffic changed nothing of what waits for it.
        if kind.listen.is_some() && of == Processes::All {
            found.extend(selected_otherwise(&site, process).await?);
        }
    }
    Ok(found)
}

async fn of_deployment(
    site: &Site,
    release: &Release<'_>,
    live: &Object,
    process: &str,
    kind: &orchestrate_core::environment::ProcessType,
) -> PortResult<Vec<String>> {
    let name = live.name();
    let Some(there) = Deployed::read(live.clone(), &site.names.environment) else {
        return Ok(vec![format!("the Deployment {name} lost the marks of orchestrate")]);
    };
    if there.placement != *release.placement {
        // Another release is there by now, or its marks say so: that is what is recorded, not what was changed.
        return Ok(vec![format!("the Deployment {name} is {} by its labels", there.placement.version)]);
    }
    debug_assert_eq!(live.annotation(PROCESS), Some(process));
    let mut wanted = release.deployment(process, kind, there.instances)?;
    if let Some(previous) = live.annotation(super::objects::PREVIOUS) {
        wanted["metadata"]["annotations"][super::objects::PREVIOUS] = previous.into();
    }
    let again = site.cluster.try_apply(Kind::Deployment, &wanted).await?;
    let mut changes = Vec::new();
    for part in ["/spec", "/metadata/labels"] {
        let (was, is) = (again.0.pointer(part), live.0.pointer(part));
        differences(part, was.unwrap_or(&Value::Null), is.unwrap_or(&Value::Null), &mut changes);
    }
    changes.truncate(MOST);
    let mut found: Vec<String> =
        changes.into_iter().map(|change| format!("the Deployment {name} was changed: {change}")).collect();
    found.extend(owners::others(live).map(|who| format!("the Deployment {name} was written by {who}")));
    Ok(found)
}

/// Where two values are not the same, in words.
fn differences(path: &str, sealed: &Value, live: &Value, found: &mut Vec<String>) {
    match (sealed, live) {
        (Value::Object(sealed), Value::Object(live)) => {
            for (key, value) in sealed {
                differences(&format!("{path}/{key}"), value, live.get(key).unwrap_or(&Value::Null), found);
            }
            for (key, value) in live.iter().filter(|(key, _)| !sealed.contains_key(*key)) {
                differences(&format!("{path}/{key}"), &Value::Null, value, found);
            }
        }
        (Value::Array(sealed), Value::Array(live)) if sealed.len() == live.len() => {
            for (index, (sealed, live)) in sealed.iter().zip(live).enumerate() {
                differences(&format!("{path}/{index}"), sealed, live, found);
            }
        }
        (sealed, live) if sealed == live => {}
        (sealed, live) => {
            let path = path.trim_start_matches('/').replace('/', ".");
            found.push(format!("{path} is {live}, and {sealed} was applied"));
        }
    }
}
