//! What an older program made under the mark of its home: it is known by that for ever, and gets the mark of the database, so that
//! every home of that database finds it. What runs goes on as it is.

use bollard::models::Service;
use orchestrate_core::ports::{PortErrorKind, PortResult};

use super::labels::{OWNER, Who};
use super::shared::{Shared, is_out_of_sequence};
use super::stop::try_update;

/// Whether a service is ours, by its mark.
pub(super) async fn is_ours(shared: &Shared, who: &Who, service: &Service) -> PortResult<bool> {
    let mark = service.spec.as_ref().and_then(|spec| spec.labels.as_ref()?.get(OWNER));
    if mark == Some(&shared.owner) {
        return Ok(true);
    }
    if mark.is_none() || mark != shared.formerly.as_ref() || !is_of_this_database(shared, who).await? {
        return Ok(false);
    }
    take_in(shared, who, service).await;
    Ok(true)
}

/// A home has one mark whatever database it was used with, but the numbers of releases are those of one.
async fn is_of_this_database(shared: &Shared, who: &Who) -> PortResult<bool> {
    let placement = &who.placement;
    match shared.spec(placement.release).await {
        Ok(spec) => Ok(spec.environment == placement.environment && spec.version == placement.version),
        Err(error) if error.kind == PortErrorKind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Only the service's own label changes, which restarts no task. Where it fails, it is tried at the next look.
async fn take_in(shared: &Shared, who: &Who, service: &Service) {
    let Some(mut spec) = service.spec.clone() else { return };
    let name = spec.name.clone().unwrap_or_default();
    spec.labels.get_or_insert_default().insert(OWNER.into(), shared.owner.clone());
    let version = service.version.as_ref().and_then(|version| version.index).unwrap_or_default();
    match try_update(shared, &name, version, spec).await {
        Ok(()) => tracing::info!(service = name, "{} has the mark of the database now", who.id()),
        Err(error) if is_out_of_sequence(&error) => {}
        Err(error) => tracing::warn!(service = name, %error, "it keeps the mark of this home for now"),
    }
}
