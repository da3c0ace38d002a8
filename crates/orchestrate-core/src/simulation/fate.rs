//! All that is left to chance, drawn from one seed, and the story of what happened.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fakes::Routes;
use crate::ports::PortErrorKind;

/// A request that left its program; run, it has its effect, and nobody hears of it.
pub(super) type Message = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    /// It never arrives.
    Lost,
    /// It is done, and the answer never arrives.
    AnswerLost,
    /// It arrives twice.
    Doubled,
    Refused(PortErrorKind),
}

pub(super) struct Fate {
    inner: Mutex<Inner>,
}

struct Inner {
    chance: fastrand::Rng,
    /// Whether anything goes wrong by chance.
    trouble: bool,
    story: Vec<String>,
    /// By a number of its own: who sent it, and what it does.
    under_way: BTreeMap<u64, (u32, Message)>,
    sent: u64,
    /// What the proxy has on disk.
    saved: Option<Routes>,
}

impl Fate {
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                chance: fastrand::Rng::with_seed(seed),
                trouble: true,
                story: Vec::new(),
                under_way: BTreeMap::new(),
                sent: 0,
                saved: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True once in so many times.
    pub fn once_in(&self, times: u32) -> bool {
        self.lock().chance.u32(0..times) == 0
    }

    pub fn below(&self, end: usize) -> usize {
        self.lock().chance.usize(0..end)
    }

    pub fn end_trouble(&self) {
        self.lock().trouble = false;
    }

    pub fn luck(&self) -> Luck {
        let mut inner = self.lock();
        if !inner.trouble {
            return Luck::Good;
        }
        match inner.chance.u32(0..300) {
            0..3 => Luck::Lost,
            3..6 => Luck::AnswerLost,
            6..12 => Luck::Doubled,
            12 => Luck::Refused(PortErrorKind::Failed),
            13 => Luck::Refused(PortErrorKind::TimedOut),
            14 => Luck::Refused(PortErrorKind::NotReady),
            _ => Luck::Good,
        }
    }

    pub fn tell(&self, what: impl Into<String>) {
        self.lock().story.push(what.into());
    }

    pub fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }

    /// A request leaves its program. The number takes it back.
    pub fn send(&self, pid: u32, message: Message) -> u64 {
        let mut inner = self.lock();
        inner.sent += 1;
        let number = inner.sent;
        inner.under_way.insert(number, (pid, message));
        number
    }

    pub fn arrived(&self, number: u64) {
        self.lock().under_way.remove(&number);
    }

    /// What a program that was killed had sent, of which some arrives all the same.
    pub fn left_by(&self, pid: u32) -> Vec<Message> {
        let mut inner = self.lock();
        let numbers: Vec<u64> =
            inner.under_way.iter().filter(|(_, (by, _))| *by == pid).map(|(number, _)| *number).collect();
        let mut left = Vec::new();
        for number in numbers {
            if let Some((_, message)) = inner.under_way.remove(&number)
                && inner.chance.bool()
            {
                left.push(message);
            }
        }
        left
    }

    pub fn save(&self, routes: Routes) {
        self.lock().saved = Some(routes);
    }

    pub fn saved(&self) -> Option<Routes> {
        self.lock().saved.clone()
    }
}
