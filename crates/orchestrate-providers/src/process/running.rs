//! A process that runs, held by its pidfd: whether it is our child or was adopted makes no difference.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::proc_table::{self, Mark};

/// The leader of an instance's process group.
#[derive(Debug)]
pub(crate) struct Running {
    pub mark: Mark,
    pidfd: AsyncFd<OwnedFd>,
}

impl Running {
    /// Takes hold of the process of that mark, if there still is one. A zombie child of ours counts as gone.
    pub fn hold(mark: Mark) -> io::Result<Option<Self>> {
        let Some(pid) = raw_pid(mark.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(cause) => return Err(cause.into()),
        };
        // Only now: the pidfd keeps the pid from meaning another process.
        let same = proc_table::stat(mark.pid).filter(|stat| stat.started == mark.started);
        let running = Self { mark, pidfd: watched(pidfd)? };
        match same {
            None => Ok(None),
            Some(stat) if stat.is_zombie() => {
                running.reap();
                Ok(None)
            }
            Some(_) => Ok(Some(running)),
        }
    }

    /// As [`Running::hold`], for a child that was just spawned and may have ended since.
    pub fn hold_child(mark: Mark) -> io::Result<Self> {
        let pid = raw_pid(mark.pid).ok_or_else(|| io::Error::other("a child without a pid"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self { mark, pidfd: watched(pidfd)? })
    }

    /// Returns once the leader ended.
    pub async fn ended(&self) {
        // An error means that the runtime is going down; then nobody needs the answer.
        if self.pidfd.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How it ended, if it is our child; its pid stays taken.
    pub fn how_it_ended(&self) -> Option<Ending> {
        self.status(WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    /// Gives the pid of an ended child back to the system.
    pub fn reap(&self) {
        self.status(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }

    /// Ends the whole group: SIGTERM, and SIGKILL for whoever is left after `patience`. Returns once all are gone.
    pub async fn end_group(&self, patience: Duration) {
        self.signal_group(Signal::TERM);
        if timeout(patience, self.group_gone()).await.is_err() {
            // A child forked in the very moment would be missed by one signal.
            loop {
                self.signal_group(Signal::KILL);
                if timeout(Duration::from_millis(200), self.group_gone()).await.is_ok() {
                    break;
                }
            }
        }
        self.reap();
    }

    /// Kills the whole group and does not wait for its end.
    pub fn kill_group(&self) {
        self.signal_group(Signal::KILL);
        self.reap();
    }

    /// The group's number cannot mean another group while its leader is not reaped or any member lives.
    fn signal_group(&self, signal: Signal) {
        let leader = proc_table::stat(self.mark.pid).is_some_and(|stat| stat.started == self.mark.started);
        if !leader && self.members().is_empty() {
            return;
        }
        if let Some(group) = raw_pid(self.mark.pid)
            && let Err(cause) = kill_process_group(group, signal)
            && cause != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.mark.pid, %cause, "a process group cannot be signalled");
        }
    }

    /// Returns once nobody of the group lives.
    async fn group_gone(&self) {
        self.ended().await;
        while let Some(member) = self.members().first() {
            // Each is awaited by its own pidfd; who is gone meanwhile needs no waiting.
            if let Ok(Some(member)) = Self::hold(*member) {
                member.ended().await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    fn members(&self) -> Vec<Mark> {
        let mut members = proc_table::members(self.mark.pid);
        // A later process of the leader's own number started a group of its own.
        if members.iter().any(|member| member.pid == self.mark.pid && member.started != self.mark.started) {
            members.clear();
        }
        members
    }

    fn status(&self, options: WaitIdOptions) -> Option<Ending> {
        let status = waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options).ok()??;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Some(Ending::Exited(status)),
            (None, Some(signal)) => Some(Ending::Killed(signal)),
            (None, None) => None,
        }
    }
}

/// How a process ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    Killed(i32),
}

impl Ending {
    pub const fn status(self) -> Option<i32> {
        match self {
            Self::Exited(status) => Some(status),
            Self::Killed(_) => None,
        }
    }

    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(number) => match Signal::from_named_raw(*number) {
                // Its name is known to `Debug` only, in quotes and with its type.
                Some(signal) => {
                    let name = format!("{signal:?}");
                    write!(f, "killed by {}", name.trim_matches('"').replace("Signal::", "SIG"))
                }
                None => write!(f, "killed by signal {number}"),
            },
        }
    }
}

#[expect(deprecated, reason = "its successor is `unsafe`; an `OwnedFd` cannot be closed while it is watched")]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

fn raw_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}
