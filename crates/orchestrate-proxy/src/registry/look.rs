//! Looks at instances outside of their regular health checks: where what was seen last is not good enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestrate_core::ports::Placement;
use orchestrate_core::time::Span;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Known, Registry, State};
use crate::check::look;

/// How long an instance may take to answer just before it gets traffic.
const LAST_LOOK: Span = Span::from_secs(1);

impl Registry {
    /// Asks every instance that was restored, for so long at most: whoever asks who is ready must not hear "nobody" only
    /// because nobody was asked yet.
    pub async fn first_look(&self, limit: Duration) {
        let tables: Vec<_> = self.lock().known.values().map(Known::table).collect();
        let placed = tables.iter().flat_map(|table| &table.placed);
        let lanes = placed.flat_map(|placed| placed.lanes.iter());
        let mut looks = JoinSet::new();
        for lane in lanes {
            for one in &lane.instances {
                looks.spawn(look(Arc::clone(one), lane.health_check.clone()));
            }
        }
        // Who needs longer is asked again by the health checks.
        let _ = timeout(limit, async { while looks.join_next().await.is_some() {} }).await;
    }

    /// Asks the instances that are about to get traffic once more: one that hangs was well at its last check. Where
    /// nobody has to be ready, nobody is asked.
    pub async fn look_again(&self, placement: &Placement, needs: &BTreeMap<String, u32>) {
        let known = |state: &State| {
            state.known.get(&placement.environment).and_then(|known| known.placed(placement).ok())
        };
        let Some(placed) = known(&self.lock()) else { return };
        let mut looks = JoinSet::new();
        for lane in placed.lanes.iter().filter(|lane| needs.contains_key(&*lane.process)) {
            for one in lane.instances.iter().filter(|one| one.is_healthy()).cloned() {
                let mut check = lane.health_check.clone();
                check.timeout = check.timeout.min(LAST_LOOK);
                looks.spawn(async move {
                    if !look(Arc::clone(&one), check).await {
                        one.healthy.store(false, Ordering::Relaxed);
                    }
                });
            }
        }
        while looks.join_next().await.is_some() {}
    }
}
