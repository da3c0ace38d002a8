//! What somebody changed of our services by hand, such as with `docker service update` or `docker service rollback`.

use std::collections::BTreeMap;

use bollard::models::{ServiceSpec, TaskSpecContainerSpecSecrets};
use orchestrate_core::ports::{Placement, PortResult, Processes};

use super::labels::Who;
use super::look;
use super::service;
use super::shared::Shared;
use crate::docker::images::kept_as;
use crate::docker::secrets::are_files;
use crate::spec::RunSpec;

/// In words for people; the values of variables may be secret, so only their names are told.
pub(super) async fn drift(shared: &Shared, placement: &Placement, of: Processes) -> PortResult<Vec<String>> {
    shared.node().await?;
    let spec = shared.spec(placement.release).await?;
    let services = look::services(shared, Some(&placement.environment)).await?;
    let mut changes = Vec::new();
    for one in spec.wanted(of, None) {
        let who = Who { placement: placement.clone(), process: one.process.to_owned(), number: one.number };
        let wanted = service::of_instance(shared, &spec, &who)?;
        let there =
            services.iter().find(|(there, _)| *there == who).and_then(|(_, found)| found.spec.as_ref());
        match there {
            Some(there) => {
                changes.extend(compare(&who.id(), &wanted, there));
                changes.extend(other_secrets(&who.id(), &spec, there));
            }
            None => changes.push(format!(
                "the service of {} ({}) is gone",
                who.id(),
                wanted.name.as_deref().unwrap_or_default()
            )),
        }
    }
    Ok(changes)
}

fn compare(id: &str, wanted: &ServiceSpec, there: &ServiceSpec) -> Vec<String> {
    let container = |spec: &ServiceSpec| {
        spec.task_template.as_ref().and_then(|task| task.container_spec.clone()).unwrap_or_default()
    };
    let replicas =
        |spec: &ServiceSpec| spec.mode.as_ref().and_then(|mode| mode.replicated.as_ref()?.replicas);
    let (ours, theirs) = (container(wanted), container(there));
    let mut changes = Vec::new();
    let image = |image: &Option<String>| image.clone().unwrap_or_default();
    if !is_same_image(&image(&ours.image), &image(&theirs.image)) {
        changes.push(format!(
            "the image of {id} is {} instead of {}",
            image(&theirs.image),
            image(&ours.image)
        ));
    }
    if ours.args.unwrap_or_default() != theirs.args.unwrap_or_default() {
        changes.push(format!("the command of {id} was changed"));
    }
    let names = changed_variables(&ours.env.unwrap_or_default(), &theirs.env.unwrap_or_default());
    if !names.is_empty() {
        changes.push(format!("variables of {id} were changed: {}", names.join(", ")));
    }
    if replicas(wanted) != replicas(there) {
        let count = replicas(there).unwrap_or(0);
        changes.push(format!("{id} is scaled to {count} instead of 1"));
    }
    let ports = |spec: &ServiceSpec| {
        let ports =
            spec.endpoint_spec.as_ref().and_then(|endpoint| endpoint.ports.clone()).unwrap_or_default();
        ports.into_iter().map(|port| (port.target_port, port.publish_mode)).collect::<Vec<_>>()
    };
    if ports(wanted) != ports(there) {
        changes.push(format!("the published ports of {id} were changed"));
    }
    changes
}

fn other_secrets(id: &str, spec: &RunSpec, there: &ServiceSpec) -> Option<String> {
    let ours: Vec<&str> = match are_files(spec) {
        true => spec.secrets.keys().map(String::as_str).collect(),
        false => Vec::new(),
    };
    let theirs = there.task_template.as_ref().and_then(|task| task.container_spec.as_ref()?.secrets.as_ref());
    let name = |secret: &TaskSpecContainerSpecSecrets| secret.file.clone().and_then(|file| file.name);
    let mut theirs: Vec<String> = theirs.into_iter().flatten().filter_map(name).collect();
    theirs.sort_unstable();
    (ours != theirs).then(|| format!("the secrets of {id} were changed"))
}

fn is_same_image(ours: &str, theirs: &str) -> bool {
    // A client of the engine writes the digest behind a name; the home that started it keeps it by a tag of its own.
    theirs.starts_with(ours) || kept_as(ours).is_some_and(|sealed| kept_as(theirs) == Some(sealed))
}

fn changed_variables(ours: &[String], theirs: &[String]) -> Vec<String> {
    let by_name = |all: &[String]| -> BTreeMap<String, String> {
        let split =
            |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        all.iter().filter_map(split).collect()
    };
    let (ours, theirs) = (by_name(ours), by_name(theirs));
    let mut names: Vec<String> = ours
        .keys()
        .chain(theirs.keys())
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}
