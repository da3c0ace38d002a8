//! Pruning takes the lease like an operation, so that no plan goes to a release that is pruned meanwhile.

use super::{Seen, take_lease};
use crate::database::audit::{self, Entry as Audit};
use crate::database::{Database, commit, leases, releases};
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::ports::Ports;
use crate::release::Release;

/// One transaction: the marks, the audit, and the new fence by which every plan made before is made anew.
pub(crate) async fn record_pruning(
    db: &Database,
    ports: &Ports,
    environment: &EnvironmentName,
    actor: &str,
    seen: &Seen,
    going: &[&Release],
) -> Result<()> {
    let now = ports.clock.now();
    let (mut tx, _) = take_lease(db, db.begin().await?, ports, environment, actor, seen).await?;
    for release in going {
        releases::set_pruned(&mut tx, release.id, Some(now)).await?;
    }
    let versions: Vec<&str> = going.iter().map(|release| release.version.as_str()).collect();
    let detail = serde_json::json!({ "versions": versions });
    let entry = Audit { at: now, environment, actor, action: "releases_pruned", reason: None, detail };
    audit::record(&mut tx, entry);
    leases::release(&mut tx, environment).await?;
    commit(tx).await
}
