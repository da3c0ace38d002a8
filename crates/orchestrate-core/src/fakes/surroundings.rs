//! A clock that only moves when it is told to, a host whose programs die at will, and an ear for remarks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::database::Holder;
use crate::plan::Step;
use crate::ports::{Clock, Host, Progress};
use crate::time::{Span, Timestamp};

/// 2026-11-22T03:00:00Z.
const START: i64 = 1_795_316_400_000;

/// Stands still; sleeping moves it on, so that nobody waits.
#[derive(Debug)]
pub struct SteppedClock {
    wall: AtomicI64,
    /// Milliseconds that passed; setting the wall clock does not change them.
    passed: AtomicU64,
}

impl Default for SteppedClock {
    fn default() -> Self {
        Self { wall: AtomicI64::new(START), passed: AtomicU64::new(0) }
    }
}

impl SteppedClock {
    pub fn read(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    pub fn set(&self, to: Timestamp) {
        self.wall.store(to.as_millis(), Ordering::SeqCst);
    }

    pub fn advance(&self, by: Span) {
        self.wall.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.passed.fetch_add(by.as_millis(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        self.read()
    }

    fn running_for(&self) -> Span {
        Span::from_millis(self.passed.load(Ordering::SeqCst))
    }

    async fn sleep(&self, span: Span) {
        self.advance(span);
        tokio::task::yield_now().await;
    }
}

/// One machine; its programs are numbered, and all but the newest may be dead.
#[derive(Debug)]
pub struct FakeHost {
    pid: AtomicU32,
    dead: Mutex<BTreeSet<u32>>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self { pid: AtomicU32::new(100), dead: Mutex::default() }
    }
}

impl FakeHost {
    /// The program that ran so far is dead; from now on another one asks.
    pub fn next_program(&self) {
        let old = self.pid.fetch_add(1, Ordering::SeqCst);
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(old);
    }
}

impl Host for FakeHost {
    fn holder(&self, actor: &str) -> Holder {
        Holder {
            actor: actor.to_owned(),
            host: "here".into(),
            pid: self.pid.load(Ordering::SeqCst),
            start_time: 1,
            boot_id: "boot".into(),
        }
    }

    fn runs(&self, holder: &Holder) -> Option<bool> {
        (holder.host == "here")
            .then(|| !self.dead.lock().unwrap_or_else(PoisonError::into_inner).contains(&holder.pid))
    }
}

/// Keeps what people would have been told.
#[derive(Debug, Default)]
pub struct Remarks(Mutex<Vec<String>>);

impl Remarks {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for Remarks {
    fn started(&self, _: &Step) {}
    fn done(&self, _: &Step, _: Span) {}

    fn remark(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }
}
