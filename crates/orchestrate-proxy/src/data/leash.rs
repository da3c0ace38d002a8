//! What can end an exchange from outside: a drain at its deadline, or a timeout. The reaper holds the other end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::clock;
use crate::table::Load;

/// Why an exchange was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulled {
    /// The release was drained, and its time was up.
    Cut,
    TimedOut,
}

/// One connection to an instance.
#[derive(Default)]
pub(super) struct Leash {
    load: RefCell<Option<Arc<Load>>>,
    pulled: Cell<Option<Pulled>>,
    /// The tick after which the exchange has timed out.
    deadline: Cell<Option<u32>>,
    waker: RefCell<Option<Waker>>,
}

impl Leash {
    /// Ties the exchange to a release for one request.
    pub fn attach(&self, load: &Arc<Load>) {
        *self.load.borrow_mut() = Some(Arc::clone(load));
    }

    pub fn detach(&self) {
        *self.load.borrow_mut() = None;
        self.deadline.set(None);
    }

    /// Gives the exchange another `limit` from now.
    pub fn arm(&self, limit: Option<Duration>) {
        self.deadline.set(limit.map(|limit| clock::now().wrapping_add(clock::ticks(limit))));
    }

    /// Notes whom to wake, and says whether the exchange was ended.
    pub fn watch(&self, cx: &Context<'_>) -> Option<Pulled> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.pulled.get()
    }

    pub fn is_pulled(&self) -> bool {
        self.pulled.get().is_some()
    }

    fn pull(&self, why: Pulled) {
        self.pulled.set(Some(why));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// All leashes of a worker.
#[derive(Default)]
pub(super) struct Leashes {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<Leash>>>,
}

/// Keeps a leash known for as long as its exchange exists.
pub(super) struct Held {
    key: u64,
    leash: Rc<Leash>,
    leashes: Rc<Leashes>,
}

impl Leashes {
    pub fn hold(self: &Rc<Self>) -> Held {
        let (key, leash) = (self.next.get(), Rc::new(Leash::default()));
        self.next.set(key + 1);
        self.all.borrow_mut().insert(key, Rc::clone(&leash));
        Held { key, leash, leashes: Rc::clone(self) }
    }

    pub fn is_empty(&self) -> bool {
        self.all.borrow().is_empty()
    }

    /// Ends every exchange with the release.
    pub fn cut(&self, load: &Arc<Load>) {
        for leash in self.all.borrow().values() {
            if leash.load.borrow().as_ref().is_some_and(|held| Arc::ptr_eq(held, load)) {
                leash.pull(Pulled::Cut);
            }
        }
    }

    pub fn time_out(&self) {
        let now = clock::now();
        for leash in self.all.borrow().values() {
            let late = |deadline: u32| now.wrapping_sub(deadline) < u32::MAX / 2;
            if leash.deadline.get().is_some_and(late) {
                leash.deadline.set(None);
                leash.pull(Pulled::TimedOut);
            }
        }
    }
}

impl std::ops::Deref for Held {
    type Target = Rc<Leash>;

    fn deref(&self) -> &Rc<Leash> {
        &self.leash
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leashes.all.borrow_mut().remove(&self.key);
    }
}
