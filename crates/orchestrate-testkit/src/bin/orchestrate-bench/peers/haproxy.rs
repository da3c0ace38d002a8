//! HAProxy, switched over its runtime API as its manual shows it: `echo … | socat stdio SOCKET`; by states, or by weights as
//! a canary is.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use tokio::process::Command;

use super::{Peer, Place, Switched, Upstreams};
use crate::process::{Running, free_address, run};

pub struct HaProxy {
    running: Running,
    address: SocketAddr,
    socket: PathBuf,
    by: Means,
}

/// By what the bad version gets its requests and loses them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    States,
    /// Half of the traffic, as a canary at 50 % has it, and none.
    Weights,
}

impl HaProxy {
    pub const NAME: &str = "HAProxy";
    pub const WITH_WEIGHTS: &str = "HAProxy, weights";

    pub fn start(place: &Place, upstreams: &Upstreams) -> Result<Self> {
        Self::start_by(Means::States, "haproxy", place, upstreams)
    }

    /// Both versions serve, each half of the requests.
    pub fn start_with_weights(place: &Place, upstreams: &Upstreams) -> Result<Self> {
        Self::start_by(Means::Weights, "weights", place, upstreams)
    }

    fn start_by(by: Means, room: &str, place: &Place, upstreams: &Upstreams) -> Result<Self> {
        let (room, address) = (place.room(room)?, free_address()?);
        let (socket, config) = (room.join("s"), room.join("haproxy.cfg"));
        let text = format!(
            "global\n  nbthread 1\n  maxconn 4096\n  stats socket {socket} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 60s\n\
             frontend users\n  bind {address}\n  default_backend be\n\
             backend be\n  http-reuse always\n  server good {good} weight 100{disabled}\n  server bad {bad} weight 100\n",
            disabled = if by == Means::States { " disabled" } else { "" },
            socket = socket.display(),
            good = upstreams.good_address,
            bad = upstreams.bad_address,
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&config);
        Ok(Self { running: Running::start("haproxy", command, &room)?, address, socket, by })
    }

    /// The one that comes is ready before the other leaves, else requests between the two would find nobody.
    async fn switch(&self, to: &str, from: &str) -> Result<Switched> {
        self.say(&format!("set server be/{to} state ready; set server be/{from} state maint")).await
    }

    async fn say(&self, commands: &str) -> Result<Switched> {
        let script = format!("echo '{commands}' | socat stdio {}", self.socket.display());
        let finished = run(Command::new("sh").arg("-c").arg(&script)).await?;
        // It answers a command that it refuses with text, and ends with 0 all the same.
        let said = String::from_utf8_lossy(&finished.stdout);
        if !said.trim().is_empty() {
            bail!("`{script}` was refused: {}", said.trim());
        }
        Ok(Switched { started: finished.started, ended: finished.ended })
    }
}

#[async_trait]
impl Peer for HaProxy {
    fn name(&self) -> &'static str {
        match self.by {
            Means::States => Self::NAME,
            Means::Weights => Self::WITH_WEIGHTS,
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        match self.by {
            Means::States => self.switch("good", "bad").await,
            Means::Weights => self.say("set server be/bad weight 0").await,
        }
    }

    async fn forward(&mut self) -> Result<()> {
        match self.by {
            Means::States => self.switch("bad", "good").await.map(drop),
            Means::Weights => self.say("set server be/bad weight 100").await.map(drop),
        }
    }

    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        Ok(vec![self.running.pid()?])
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.running.stop().await.context("haproxy")
    }
}
