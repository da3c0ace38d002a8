//! Unused connections to instances, kept for the next request. The last one used is taken first, so that what a burst
//! has opened can grow old and go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock;
use super::exchange::Exchange;
use crate::table::Instance;

#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<u64, Idle>>,
}

struct Idle {
    instance: Arc<Instance>,
    #[expect(
        clippy::vec_box,
        reason = "boxes go back and forth between here and the bodies; what they hold is large"
    )]
    exchanges: Vec<Box<Exchange>>,
}

impl Pool {
    pub fn take(&self, instance: &Instance) -> Option<Box<Exchange>> {
        self.idle.borrow_mut().get_mut(&instance.key)?.exchanges.pop()
    }

    pub fn put(&self, instance: &Arc<Instance>, mut exchange: Box<Exchange>, most: usize) {
        exchange.leash.detach();
        if !exchange.is_reusable() || instance.gone.load(Ordering::Relaxed) {
            return;
        }
        exchange.idle_since = clock::now();
        let mut idle = self.idle.borrow_mut();
        let idle = idle
            .entry(instance.key)
            .or_insert_with(|| Idle { instance: Arc::clone(instance), exchanges: Vec::new() });
        if idle.exchanges.len() < most {
            idle.exchanges.push(exchange);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Drops what was unused for so many ticks, and what leads to instances that are gone.
    pub fn weed(&self, longest: u32) {
        let now = clock::now();
        self.idle.borrow_mut().retain(|_, idle| {
            idle.exchanges.retain(|exchange| now.wrapping_sub(exchange.idle_since) <= longest);
            !idle.exchanges.is_empty() && !idle.instance.gone.load(Ordering::Relaxed)
        });
    }

    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
