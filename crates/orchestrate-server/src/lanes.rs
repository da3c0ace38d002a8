//! Work that must not wait for other work: a task for each key, at most one at a time.

use std::collections::HashSet;
use std::hash::Hash;

use tokio::task::JoinSet;

/// Tasks by key. Dropped, they end with it.
pub(crate) struct Lanes<K> {
    busy: HashSet<K>,
    tasks: JoinSet<K>,
    /// Work came for a key that was busy.
    missed: bool,
}

impl<K: Clone + Eq + Hash + Send + 'static> Lanes<K> {
    pub fn new() -> Self {
        Self { busy: HashSet::new(), tasks: JoinSet::new(), missed: false }
    }

    /// Starts the work, unless some for the same key is going on.
    pub fn start(&mut self, key: K, work: impl Future<Output = ()> + Send + 'static) {
        if !self.busy.insert(key.clone()) {
            self.missed = true;
            return;
        }
        self.tasks.spawn(async move {
            work.await;
            key
        });
    }

    /// Returns once work ended that other work waited for: it is time to look again.
    pub async fn freed(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(key)) => self.busy.remove(&key),
                Some(Err(_)) => continue,
                None => return std::future::pending().await,
            };
            if std::mem::take(&mut self.missed) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, mpsc};

    use super::Lanes;

    #[tokio::test]
    async fn a_slow_one_delays_no_other_and_is_not_begun_twice() {
        let (gate, (tell, mut told)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
        let mut lanes = Lanes::new();
        let slow = |number: u32| {
            let (gate, tell) = (Arc::clone(&gate), tell.clone());
            async move {
                tell.send(number).unwrap();
                gate.acquire().await.unwrap().forget();
            }
        };
        lanes.start("slow", slow(1));
        lanes.start("slow", slow(2));
        lanes.start("other", slow(3));
        let mut begun = [told.recv().await.unwrap(), told.recv().await.unwrap()];
        begun.sort_unstable();
        assert_eq!(begun, [1, 3]);
        gate.add_permits(2);
        lanes.freed().await;
        lanes.freed_all().await;
        lanes.start("slow", slow(4));
        assert_eq!(told.recv().await, Some(4), "it may be begun again");
    }

    impl Lanes<&'static str> {
        async fn freed_all(&mut self) {
            while let Some(Ok(key)) = self.tasks.join_next().await {
                self.busy.remove(&key);
            }
        }
    }
}
