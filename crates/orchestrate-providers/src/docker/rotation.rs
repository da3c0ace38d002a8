//! The logs that output is copied into are kept small as those of the `process` provider are.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::keeper::Keeper;
use super::shared::Shared;
use crate::process::lines::Counted;
use crate::process::rotate::Logs;

impl Logs for Shared {
    fn written(&self) -> Vec<PathBuf> {
        let log = |keeper: &Arc<Keeper>| self.log(&keeper.placement, &keeper.process, keeper.number);
        self.keepers().iter().map(log).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn counted(&self) -> &Counted {
        &self.counted
    }
}
