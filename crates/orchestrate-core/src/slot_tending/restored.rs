//! After a restore: whether what runs is what the records from the backup say.

use crate::database::Database;
use crate::error::Result;
use crate::name::EnvironmentName;
use crate::ports::{PortResult, Ports};
use crate::slot::SlotState;

/// Takes the restored records for true if they are what runs, or if nothing runs that they could harm. True if they are.
pub(super) async fn settle(db: &Database, ports: &Ports, name: &EnvironmentName) -> Result<bool> {
    match agrees(db, ports, name).await? {
        Ok(true) => {
            db.accept_restored(name, None, "orchestrate", ports.clock.now()).await?;
            return Ok(true);
        }
        Ok(false) => ports.progress.remark(&format!(
            "the records of {name} come from a backup and are not what runs; nothing is changed there until: \
             orchestrate env accept {name}"
        )),
        Err(error) => ports.progress.remark(&format!(
            "the records of {name} come from a backup, and it cannot be seen what runs: {error}"
        )),
    }
    Ok(false)
}

async fn agrees(db: &Database, ports: &Ports, name: &EnvironmentName) -> Result<PortResult<bool>> {
    let slots = db.slots(name).await?;
    let view = match ports.router.observe(name).await {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    let instances = match ports.provider.instances(name).await {
        Ok(instances) => instances,
        Err(error) => return Ok(Err(error)),
    };
    let recorded = |slot, release, version: &_| {
        slots.iter().find(|one| one.slot == slot && one.release == release && one.version == *version)
    };
    let known = instances.iter().all(|instance| {
        let there = &instance.placement;
        recorded(there.slot, there.release, &there.version).is_some()
    });
    let served = view.slots.iter().filter(|slot| slot.weight > 0).all(|there| {
        let found = recorded(there.slot, there.release, &there.version);
        found.is_some_and(|slot| matches!(slot.state, SlotState::Live | SlotState::Staged))
    });
    Ok(Ok(known && served))
}
