//! Those who have retired and still finish what they had: what they have in flight counts with what this proxy has.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use orchestrate_core::name::{EnvironmentName, Fence};
use orchestrate_core::ports::{Drain, Placement, Register, RouterView};
use orchestrate_core::time::Span;
use tokio::io::BufReader;
use tokio::time::timeout;

use super::{RETIRED, hear, say};
use crate::protocol::{Reply, Request};
use crate::unix;

/// How long one may take to answer what needs no waiting. One that is stopped answers nothing and serves nobody.
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Elders {
    all: Mutex<Vec<Elder>>,
}

#[derive(Clone)]
struct Elder {
    socket: PathBuf,
    /// Nobody can begin anything there any more.
    quiet: bool,
}

impl Elders {
    /// Finds those of earlier handovers too: the heir that knew them may be gone.
    pub fn find(&self, socket: &Path) {
        let found = retired_beside(socket).unwrap_or_default();
        *self.lock() = found.into_iter().map(|socket| Elder { socket, quiet: false }).collect();
    }

    pub fn forget_all(&self) {
        self.lock().clear();
    }

    /// Returns once their idle connections have ended, so that no request is routed by what was true before a change. They
    /// get their `linger`: closed at once, one could have a request on its way.
    pub async fn quiet(&self, linger: Duration) {
        for elder in self.known() {
            if !elder.quiet && self.ask(&elder, &Request::Quiet, linger + ANSWER).await.is_some() {
                let mut all = self.lock();
                all.iter_mut().filter(|one| one.socket == elder.socket).for_each(|one| one.quiet = true);
            }
        }
    }

    /// Adds what they have in flight to each release.
    pub async fn add_to(&self, view: &mut RouterView, environment: &EnvironmentName) {
        for elder in self.known() {
            let asked = self.ask(&elder, &Request::Observe(environment.clone()), ANSWER).await;
            let Some(Reply::View { view: theirs, .. }) = asked else { continue };
            for slot in &mut view.slots {
                let same = theirs
                    .slots
                    .iter()
                    .filter(|other| (other.slot, other.release) == (slot.slot, slot.release));
                slot.in_flight += same.map(|other| other.in_flight).sum::<u64>();
            }
        }
    }

    /// Waits until nothing is in flight there to the release, and has cut what is left at the deadline; how much that was.
    pub async fn drain(&self, placement: &Placement, fence: Fence, left: Duration) -> u64 {
        let begun = Instant::now();
        let mut cut = 0;
        for elder in self.known() {
            let left = left.saturating_sub(begun.elapsed());
            let deadline = Span::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let rest = Drain { placement: placement.clone(), fence, deadline };
            let asked = self.ask(&elder, &Request::DrainRest(rest), left + ANSWER + ANSWER).await;
            if let Some(Reply::Drained(drained)) = asked {
                cut += drained.cut;
            }
        }
        cut
    }

    /// Waits until nothing is in flight there to instances that a registration leaves out.
    pub async fn registered(&self, request: &Register) {
        let Some(drain) = request.drain else { return };
        for elder in self.known() {
            self.ask(&elder, &Request::RegisterRest(request.clone()), drain.duration() + ANSWER).await;
        }
    }

    fn known(&self) -> Vec<Elder> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Elder>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where it has ended, which is forgotten then, or does not answer.
    async fn ask(&self, elder: &Elder, request: &Request, limit: Duration) -> Option<Reply> {
        let exchange = async {
            let mut conversation = BufReader::new(unix::connect(&elder.socket).await?);
            say(&mut conversation, request).await?;
            hear::<Reply>(&mut conversation).await
        };
        match timeout(limit, exchange).await {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(error)) => {
                tracing::debug!(%error, "an elder has ended");
                self.lock().retain(|one| one.socket != elder.socket);
                // One that was killed did not take its socket with it.
                let _ = std::fs::remove_file(&elder.socket);
                None
            }
            Err(_) => {
                tracing::warn!(socket = %elder.socket.display(), "an elder does not answer");
                None
            }
        }
    }
}

fn retired_beside(socket: &Path) -> io::Result<Vec<PathBuf>> {
    let mut prefix = socket.file_name().map(OsStr::to_owned).unwrap_or_default();
    prefix.push(RETIRED);
    let parent = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
