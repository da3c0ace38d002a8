//! Hooks: commands that are run once in an operation. What came of each is kept in the home, as the `process` provider
//! keeps it, so that who asks again after a crash is told.

use std::sync::Arc;

use orchestrate_core::failpoint;
use orchestrate_core::ports::{Ended, ForgetHooks, HookRequest, PortResult};

use super::one_off;
use super::shared::Shared;
use crate::process::hook::{self as kept, Kept};

pub(super) async fn run(shared: &Arc<Shared>, request: &HookRequest) -> PortResult<Ended> {
    let file = kept::file(&shared.home, request);
    // Who asks again while it runs waits for its end.
    let gate = shared.hook_gate(&file);
    let _turn = gate.lock().await;
    shared.book.accept_fence(&request.placement.environment, request.fence).await?;
    match kept::read(&file)? {
        Some(Kept::Ended(result)) => return result,
        Some(Kept::Begun) => return kept::keep(&file, Err(kept::cut_off(request))),
        None => {}
    }
    // Without an engine it was not begun, and may be asked for again.
    shared.engine.client().await?;
    kept::write(&file, &Kept::Begun)?;
    let result = failpoint!("hook/run", one_off::run(shared, &kept::one_off_of(request)).await);
    kept::keep(&file, result)
}

/// Removes what is kept of all others than the one that goes on. Where nothing was ever run, there is nothing.
pub(super) async fn forget(shared: &Arc<Shared>, request: &ForgetHooks) -> PortResult<()> {
    if !shared.book.read(|record| record.fences.contains_key(&request.environment)) {
        return Ok(());
    }
    shared.book.accept_fence(&request.environment, request.fence).await?;
    kept::forget_in(&shared.home, request).await
}
