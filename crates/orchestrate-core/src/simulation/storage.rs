//! What befalls the database: no room, no right to write, a lock that somebody else has for a while, and an answer that is lost.

use super::{Scene, open};
use crate::database::Tx;
use crate::database::disk::Room;

/// What is wrong with it, and until which turn.
#[derive(Default)]
pub(super) struct Storage {
    room_from: Option<u64>,
    lock: Option<(Tx, u64)>,
}

impl Storage {
    pub async fn suffer(&mut self, scene: &Scene, turn: u64) {
        let until = turn + 5 + scene.fate.below(150) as u64;
        match scene.fate.below(5) {
            0 => {
                scene.fate.tell(format!("the disk is full until turn {until}"));
                scene.disk.set(Room::Full);
                self.room_from = Some(until);
            }
            1 => {
                scene.fate.tell(format!("the disk is read-only until turn {until}"));
                scene.disk.set(Room::ReadOnly);
                self.room_from = Some(until);
            }
            2 if self.lock.is_none() => {
                scene.fate.tell(format!("somebody locks the database until turn {until}"));
                let other = open(&scene.stage.dir.path().join("state.db")).await;
                self.lock = Some((other.begin().await.unwrap(), until));
            }
            _ => {
                scene.fate.tell("nobody will hear of the next transaction's end");
                scene.disk.keep_silent_once();
            }
        }
    }

    /// What is over by now.
    pub fn recover(&mut self, scene: &Scene, turn: u64) {
        if self.room_from.is_some_and(|until| until <= turn) {
            scene.fate.tell("the disk is well again");
            scene.disk.set(Room::Enough);
            self.room_from = None;
        }
        if self.lock.as_ref().is_some_and(|(_, until)| *until <= turn) {
            scene.fate.tell("the database is free again");
            self.lock = None;
        }
        if turn == u64::MAX {
            scene.disk.speak();
        }
    }
}
