//! Policies that were overridden: recorded, and told to every channel, in the transaction of what was begun.

use super::tell;
use crate::database::audit::{self, Entry as Audit};
use crate::database::{EnvironmentRecord, Tx};
use crate::error::Result;
use crate::notification::{NoticeKind, Override, Told};
use crate::time::Timestamp;

pub(super) async fn broke_glass(
    tx: &mut Tx,
    environment: &EnvironmentRecord,
    about: Override,
    now: Timestamp,
) -> Result<()> {
    let detail = serde_json::json!({
        "what": about.what, "version": about.version, "overrode": about.overrode,
    });
    let entry = Audit {
        at: now,
        environment: &environment.environment.name,
        actor: &about.actor,
        action: "glass_broken",
        reason: about.reason.as_deref(),
        detail,
    };
    audit::record(tx, entry);
    tell(tx, environment, NoticeKind::BreakGlass, Told::Override(Box::new(about)), None, now).await
}
