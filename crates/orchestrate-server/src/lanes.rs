//! Work that must not wait for other work: a task for each key, at most one at a time.

use std::collections::HashSet;
use std::hash::Hash;

use tokio::task::JoinSet;

/// Tasks by key. Dropped, they end with it.
pub(crate) struct Lanes<K> {
    busy: HashSet<K>,
    tasks: JoinSet<K>,
    /// Those that were busy when work came for them.
    missed: HashSet<K>,
    /// Those of them that are free now: until the next wait, nothing is started for others. If it were, those that end soon would
    /// be started again and again for as long as there is always one that is busy.
    only: Option<HashSet<K>>,
}

impl<K: Clone + Eq + Hash + Send + 'static> Lanes<K> {
    pub fn new() -> Self {
        Self { busy: HashSet::new(), tasks: JoinSet::new(), missed: HashSet::new(), only: None }
    }

    /// Starts the work, which is only made then, unless some for the same key is going on.
    pub fn start<W: Future<Output = ()> + Send + 'static>(&mut self, key: K, work: impl FnOnce() -> W) {
        if self.only.as_ref().is_some_and(|only| !only.contains(&key)) {
            return;
        }
        if !self.busy.insert(key.clone()) {
            self.missed.insert(key);
            return;
        }
        let work = work();
        self.tasks.spawn(async move {
            work.await;
            key
        });
    }

    /// Returns once work ended that other work waited for: it is time to look again, for that other work.
    pub fn freed(&mut self) -> impl Future<Output = ()> {
        // Whatever ends the wait, everything is looked at again, unless this does.
        self.only = None;
        async {
            let mut free = HashSet::new();
            loop {
                let ended = match free.is_empty() {
                    true => self.tasks.join_next().await,
                    false => self.tasks.try_join_next(),
                };
                match ended {
                    Some(Ok(key)) => {
                        self.busy.remove(&key);
                        if self.missed.remove(&key) {
                            free.insert(key);
                        }
                    }
                    Some(Err(_)) => {}
                    None if free.is_empty() => return std::future::pending().await,
                    None => break,
                }
            }
            self.only = Some(free);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Semaphore, mpsc};

    use super::Lanes;

    #[tokio::test]
    async fn a_slow_one_delays_no_other_and_is_not_begun_twice() {
        let (gate, (tell, mut told)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
        let mut lanes = Lanes::new();
        let slow = |number: u32| {
            let (gate, tell) = (Arc::clone(&gate), tell.clone());
            move || async move {
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

    #[tokio::test]
    async fn one_that_is_always_busy_has_no_other_begun_again_and_again() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut lanes = Lanes::new();
        let gate = Arc::new(Semaphore::new(0));
        let look = |lanes: &mut Lanes<&'static str>| {
            for key in ["slow", "quick"] {
                let (tell, gate) = (tell.clone(), Arc::clone(&gate));
                lanes.start(key, || async move {
                    tell.send(key).unwrap();
                    if key == "slow" {
                        gate.acquire().await.unwrap().forget();
                    }
                });
            }
        };
        look(&mut lanes);
        // Both are looked at again while both are busy.
        look(&mut lanes);
        lanes.freed().await;
        look(&mut lanes);
        // The quick one has made up for what it missed: only the slow one is waited for now.
        tokio::task::yield_now().await;
        let next = tokio::time::timeout(Duration::from_millis(100), lanes.freed()).await;
        assert!(next.is_err(), "it looks again for nobody");
        gate.add_permits(2);
        lanes.freed().await;
        look(&mut lanes);
        drop(tell);
        lanes.freed_all().await;
        let mut begun = Vec::new();
        while let Ok(key) = told.try_recv() {
            begun.push(key);
        }
        begun.sort_unstable();
        assert_eq!(begun, ["quick", "quick", "slow", "slow"]);
    }

    impl Lanes<&'static str> {
        async fn freed_all(&mut self) {
            while let Some(Ok(key)) = self.tasks.join_next().await {
                self.busy.remove(&key);
            }
        }
    }
}
