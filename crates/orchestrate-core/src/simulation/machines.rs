//! The computers on which the simulated programs run, and their clocks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::database::Holder;
use crate::fakes::SteppedClock;
use crate::ports::{Clock, Host};
use crate::time::{Span, Timestamp};

/// Which programs have ended. Only who is on the same computer can see it.
#[derive(Debug, Default)]
pub(super) struct Machines {
    ended: Mutex<BTreeSet<u32>>,
}

impl Machines {
    pub fn end(&self, pid: u32) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }
}

/// One program on one computer.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub host: &'static str,
    pub pid: u32,
    pub machines: Arc<Machines>,
}

impl Host for Seat {
    fn holder(&self, actor: &str) -> Holder {
        Holder {
            actor: actor.to_owned(),
            host: self.host.to_owned(),
            pid: self.pid,
            start_time: 1,
            boot_id: "boot".into(),
        }
    }

    fn runs(&self, holder: &Holder) -> Option<bool> {
        let ended = self.machines.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (holder.host == self.host).then(|| !ended.contains(&holder.pid))
    }
}

/// The world's clock, on which a sleeper sleeps until the simulation lets the time pass.
#[derive(Debug)]
pub(super) struct SharedClock(pub Arc<SteppedClock>);

#[async_trait]
impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.read()
    }

    fn running_for(&self) -> Span {
        self.0.running_for()
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.duration()).await;
    }
}
