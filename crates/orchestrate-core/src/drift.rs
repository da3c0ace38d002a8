//! What somebody else changed of what runs in an engine that others can reach, too: it is seen, on record, and overwritten only by
//! who says so.

use crate::database::{Database, audit, commit};
use crate::error::{Error, Result};
use crate::plan::Place;
use crate::ports::{PortErrorKind, PortResult, Ports, Processes};
use crate::release::Release;
use crate::slot::{Slot, SlotRecord, SlotState};

/// What is otherwise than it was made for the release that is live, in words for people.
pub async fn seen(ports: &Ports, release: &Release, slot: Slot) -> PortResult<Vec<String>> {
    changed(ports, release, slot, Processes::All).await
}

async fn changed(ports: &Ports, release: &Release, slot: Slot, of: Processes) -> PortResult<Vec<String>> {
    if !release.contents.settings.provider.may_drift() {
        return Ok(Vec::new());
    }
    ports.provider.drift(&Place::of(release, slot).placement(&release.environment), of).await
}

/// What is otherwise than it was made, of each release that waits warm: traffic switched to it would not come to what is sealed.
pub(crate) async fn of_warm(
    db: &Database,
    ports: &Ports,
    slots: &[SlotRecord],
) -> Result<Vec<(Slot, String)>> {
    let mut found = Vec::new();
    for record in slots.iter().filter(|record| record.state == SlotState::Warm) {
        let Some(release) = db.release(record.release).await? else { continue };
        // Who does not answer is not trusted less: the operation will say so.
        let changes = changed(ports, &release, record.slot, Processes::Routed).await.unwrap_or_default();
        if !changes.is_empty() {
            found.push((record.slot, changes.join("; ")));
        }
    }
    Ok(found)
}

/// What a person or a policy asked for is refused if it would overwrite what somebody changed; `retry` is what to type then.
pub(crate) async fn refuse(
    ports: &Ports,
    live: Option<(&Release, Slot)>,
    force: bool,
    retry: &str,
) -> Result<()> {
    let Some((release, slot)) = live else { return Ok(()) };
    let environment = &release.environment;
    match seen(ports, release, slot).await {
        Ok(changes) if changes.is_empty() => Ok(()),
        Ok(changes) if force => {
            let changes = changes.join("; ");
            ports.progress.remark(&format!("overwrites what somebody changed in {environment}: {changes}"));
            Ok(())
        }
        Ok(changes) => Err(Error::refused(
            "ORC-0166",
            format!(
                "somebody changed what runs for {} in {environment}: {}",
                release.version,
                changes.join("; ")
            ),
        )
        .hint(format!("if that may be overwritten: {retry} --force"))),
        // Who does not answer cannot be asked for more either, and the operation will say so.
        Err(error) if error.kind == PortErrorKind::Unreachable => Ok(()),
        Err(error) => {
            ports.progress.remark(&format!("it is not known whether somebody changed what runs: {error}"));
            Ok(())
        }
    }
}

/// Looks at what is live, and records what changed since the last look. True where somebody changed something, which is then left as it
/// is.
pub(crate) async fn look(
    db: &Database,
    ports: &Ports,
    known: &mut Vec<String>,
    live: &Release,
    slot: Slot,
) -> Result<PortResult<bool>> {
    let changes = match seen(ports, live, slot).await {
        Ok(changes) => changes,
        Err(error) => return Ok(Err(error)),
    };
    if changes != *known {
        note(db, ports, live, &changes).await?;
        known.clone_from(&changes);
    }
    Ok(Ok(!changes.is_empty()))
}

async fn note(db: &Database, ports: &Ports, release: &Release, changes: &[String]) -> Result<()> {
    let environment = &release.environment;
    let action = if changes.is_empty() { "drift_ended" } else { "drift_seen" };
    let detail = serde_json::json!({ "version": release.version, "release": release.id, "changes": changes });
    let mut tx = db.begin().await?;
    let (at, actor) = (ports.clock.now(), "orchestrate");
    audit::record(&mut tx, audit::Entry { at, environment, actor, action, reason: None, detail });
    commit(tx).await?;
    match changes {
        [] => ports.progress.remark(&format!("{environment} runs as it is recorded again")),
        changes => {
            let changes = changes.join("; ");
            ports.progress.remark(&format!("somebody changed what runs in {environment}: {changes}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
