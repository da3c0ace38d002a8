//! Steady users: keep-alive clients on a thread of their own, that remember every answer and every failure.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orchestrate_testkit::User;
use tokio::sync::watch;

/// A user gives up after this long.
const GIVES_UP: Duration = Duration::from_secs(15);

pub struct Load {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub asked: Instant,
    pub answered: Instant,
    /// The whole answer with status 200, or what went wrong.
    pub answer: Result<String, String>,
}

impl Seen {
    pub fn version(&self) -> Option<&str> {
        let text = self.answer.as_ref().ok()?.strip_prefix("version ")?;
        text.split(',').next()
    }
}

pub struct Report {
    pub seen: Vec<Seen>,
}

impl Load {
    /// About a thousand requests a second at most, so that two cores have time for what is tested.
    pub fn start(address: SocketAddr, clients: u32) -> Self {
        Self::at_pace(address, clients, Duration::from_millis(u64::from(clients)))
    }

    /// Each client pauses so long between two requests.
    pub fn at_pace(address: SocketAddr, clients: u32, pause: Duration) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(false));
        let (into, stopped) = (Arc::clone(&seen), stop.subscribe());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let clients: Vec<_> = (0..clients)
                    .map(|_| tokio::spawn(client(address, pause, Arc::clone(&into), stopped.clone())))
                    .collect();
                for client in clients {
                    client.await.unwrap();
                }
            });
        });
        let load = Self { seen, stop, thread: Some(thread) };
        load.await_answers(clients as usize);
        load
    }

    /// Returns once so many more answers came.
    pub fn await_answers(&self, more: usize) {
        let count = || self.seen.lock().unwrap().len();
        let goal = count() + more;
        super::until("more answers", || (count() >= goal).then_some(()));
    }

    /// Returns once an answer came to a request that is asked from now on.
    pub fn await_version(&self, version: &str) {
        let now = Instant::now();
        let is = |seen: &Seen| seen.asked >= now && seen.version() == Some(version);
        super::until("an answer of the version", || {
            self.seen.lock().unwrap().iter().rev().any(is).then_some(())
        });
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
        Report { seen: std::mem::take(&mut *self.seen.lock().unwrap()) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Report {
    #[track_caller]
    pub fn lost_nothing(self) -> Self {
        let failed: Vec<_> = self.seen.iter().filter(|seen| seen.answer.is_err()).collect();
        let first: Vec<_> = failed.iter().take(3).collect();
        assert!(failed.is_empty(), "{} of {} failed: {first:#?}", failed.len(), self.seen.len());
        assert!(self.seen.len() > 40, "only {} requests were made", self.seen.len());
        self
    }

    /// No request that was asked in this time was answered by that version.
    #[track_caller]
    pub fn nobody_got(self, version: &str, from: Instant, to: Instant) -> Self {
        let asked: Vec<_> = self.seen.iter().filter(|seen| seen.asked > from && seen.answered < to).collect();
        assert!(!asked.is_empty(), "nobody asked meanwhile");
        let wrong = asked.iter().filter(|seen| seen.version() == Some(version)).count();
        assert_eq!(wrong, 0, "of {} answers so many were still by {version}", asked.len());
        self
    }

    #[track_caller]
    pub fn somebody_got(self, version: &str) -> Self {
        assert!(self.seen.iter().any(|seen| seen.version() == Some(version)), "nobody got {version}");
        self
    }

    /// The longest that anybody waited for an answer.
    pub fn longest(&self) -> Duration {
        self.seen.iter().map(|seen| seen.answered - seen.asked).max().unwrap_or_default()
    }
}

async fn client(
    address: SocketAddr,
    pause: Duration,
    into: Arc<Mutex<Vec<Seen>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut user = User::new(address);
    while !*stopped.borrow() {
        let asked = Instant::now();
        let answer = match tokio::time::timeout(GIVES_UP, user.get("/")).await {
            Ok(Ok((200, text))) => Ok(text),
            Ok(Ok((status, text))) => Err(format!("{status}: {text}")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {GIVES_UP:?}")),
        };
        into.lock().unwrap().push(Seen { asked, answered: Instant::now(), answer });
        let _ = tokio::time::timeout(pause, stopped.wait_for(|stopped| *stopped)).await;
    }
}
