//! `docker service rollback` on a swarm of one node.
//!
//! The service uses the host's network: the ingress network needs IPVS in the kernel.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;

use super::engine::image;
use super::{Engine, Peer, Switched};
use crate::client::{BAD, By, GOOD, await_answer};
use crate::process::free_address;

pub struct Swarm {
    engine: Arc<Engine>,
    address: SocketAddr,
}

const SERVICE: &str = "bench";

impl Swarm {
    pub const NAME: &str = "docker service rollback";

    /// With the good version deployed; the bad one comes with `forward`, once, because every update is a step to go back.
    pub async fn start(engine: &Arc<Engine>) -> Result<Self> {
        let this = Self { engine: Arc::clone(engine), address: free_address()? };
        let listen = free_address()?.to_string();
        let init = ["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &listen];
        engine.docker(&init).await?;
        let port = format!("PORT={}", this.address.port());
        let variables = ["--env", &port, "--env", "BENCH_LISTEN=127.0.0.1"];
        let create = ["service", "create", "--quiet", "--name", SERVICE, "--network", "host"];
        let image = image(GOOD);
        let last = ["--no-resolve-image", image.as_str()];
        let words: Vec<&str> = create.into_iter().chain(variables).chain(last).collect();
        engine.docker(&words).await?;
        await_answer(this.address, By::Good).await?;
        Ok(this)
    }
}

#[async_trait]
impl Peer for Swarm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        let finished = self.engine.docker(&["service", "rollback", "--quiet", SERVICE]).await?;
        Ok(Switched { started: finished.started, ended: finished.ended })
    }

    async fn forward(&mut self) -> Result<()> {
        let update = ["service", "update", "--quiet", "--no-resolve-image", "--image", &image(BAD), SERVICE];
        self.engine.docker(&update).await?;
        await_answer(self.address, By::Bad).await
    }

    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        bail!("a service on the host's network has none")
    }

    /// The swarm ends with its engine.
    async fn stop(self: Box<Self>) -> Result<()> {
        self.engine.docker(&["service", "rm", SERVICE]).await.map(drop)
    }
}
