//! A disk that fills up or turns read-only under a database, and an end of a transaction of which nobody hears, for tests.
//! It is SQLite itself that refuses what cannot be written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Database;
use super::row::Cause;
use super::session::Session;
use super::sql::query;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nothing ever went wrong here.
    #[default]
    Untouched,
    /// What needs a new page is refused, also in the middle of a transaction.
    Full,
    /// Every write is refused.
    ReadOnly,
    /// There is room again.
    Enough,
}

impl Room {
    const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Untouched => &[],
            // Below the size that it has, SQLite takes that size for the limit.
            Self::Full => &["PRAGMA max_page_count = 1"],
            Self::ReadOnly => &["PRAGMA query_only = ON"],
            Self::Enough => &["PRAGMA query_only = OFF", "PRAGMA max_page_count = 4294967294"],
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    room: Mutex<Room>,
    keeps_silent: AtomicBool,
}

impl Disk {
    pub fn set(&self, room: Room) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
    }

    /// The next transaction that commits is committed, and whoever did it is told that the connection is gone.
    pub fn keep_silent_once(&self) {
        self.keeps_silent.store(true, Ordering::Relaxed);
    }

    pub fn speak(&self) {
        self.keeps_silent.store(false, Ordering::Relaxed);
    }

    pub(super) fn answer(&self) -> Result<(), Cause> {
        if self.keeps_silent.swap(false, Ordering::Relaxed) { Err(Cause::Gone) } else { Ok(()) }
    }

    /// Whoever uses a connection meets the disk as it is now.
    pub(super) async fn bear(&self, session: &mut Session) -> Result<(), Cause> {
        let room = *self.room.lock().unwrap_or_else(PoisonError::into_inner);
        for setting in room.settings() {
            query(*setting).try_fetch_all(session).await?;
        }
        Ok(())
    }
}

impl Database {
    pub(crate) fn put_on(&self, disk: &Arc<Disk>) {
        self.source.put_on(disk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Stage, v};

    async fn hold(stage: &Stage, version: &str) -> crate::error::Result<()> {
        stage
            .db
            .hold(&stage.environment, &v(version), "ada", &"x".repeat(400_000), stage.world.clock.read())
            .await
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_and_succeeds_once_there_is_some() {
        let (stage, disk) = (Stage::new().await, Arc::new(Disk::default()));
        stage.db.put_on(&disk);
        for (room, code) in [(Room::Full, "ORC-0407"), (Room::ReadOnly, "ORC-0404")] {
            disk.set(room);
            assert_eq!(hold(&stage, "1.0").await.unwrap_err().code(), code);
            disk.set(Room::Enough);
            hold(&stage, "1.0").await.unwrap();
            stage
                .db
                .unhold(&stage.environment, &v("1.0"), "ada", None, stage.world.clock.read())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn an_end_of_which_nobody_hears_is_an_end() {
        let (stage, disk) = (Stage::new().await, Arc::new(Disk::default()));
        stage.db.put_on(&disk);
        disk.keep_silent_once();
        assert_eq!(hold(&stage, "1.0").await.unwrap_err().code(), "ORC-0409");
        let holds = stage.db.list_holds(&stage.environment).await.unwrap();
        assert_eq!(holds.len(), 1, "it was committed");
        hold(&stage, "1.1").await.unwrap();
    }
}
