//! What policies say now: a freeze that holds, and who waits for whose word.

use orchestrate_core::Result;
use orchestrate_core::approval::ApprovalStatus;
use orchestrate_core::database::EnvironmentRecord;
use orchestrate_core::name::{ApprovalId, Version};
use orchestrate_core::policy;
use orchestrate_core::ports::{Clock as _, SystemClock};
use orchestrate_core::time::Timestamp;
use serde::Serialize;

use crate::wiring::Wiring;

/// So many of the newest requests are looked at.
const NEWEST: i64 = 20;

#[derive(Serialize)]
pub(super) struct Frozen {
    pub name: String,
    pub until: Timestamp,
    #[serde(skip)]
    pub until_there: String,
}

#[derive(Serialize)]
pub(super) struct Waiting {
    pub id: ApprovalId,
    pub version: Version,
    pub actor: String,
    pub status: ApprovalStatus,
    pub expires_at: Timestamp,
}

pub(super) fn frozen(record: &EnvironmentRecord) -> Option<Frozen> {
    let freezes = &record.environment.settings.policy.freezes;
    let policy::Frozen { name, until, until_there } = policy::frozen(freezes, SystemClock.now())?;
    Some(Frozen { name, until, until_there })
}

/// Those that wait, and those that have it and were not used.
pub(super) async fn waiting(wiring: &Wiring, record: &EnvironmentRecord) -> Result<Vec<Waiting>> {
    if !record.environment.settings.requires_approval {
        return Ok(Vec::new());
    }
    let now = SystemClock.now();
    let requests = wiring.db.list_approvals(&record.environment.name, NEWEST).await?;
    let waiting = requests.into_iter().filter_map(|request| {
        let status = request.status(now);
        let waits = matches!(status, ApprovalStatus::Waiting | ApprovalStatus::Approved);
        waits.then_some(Waiting {
            id: request.id,
            version: request.version,
            actor: request.actor,
            status,
            expires_at: request.expires_at,
        })
    });
    Ok(waiting.collect())
}
