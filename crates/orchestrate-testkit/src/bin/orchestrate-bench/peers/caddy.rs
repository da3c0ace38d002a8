//! caddy, switched by one PATCH to its admin API; the command is this program's `--send`, in the place of curl.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use serde_json::json;
use tokio::process::Command;

use super::{Peer, Place, Switched, Upstreams};
use crate::process::{Running, free_address, run};

const UPSTREAMS: &str = "/config/apps/http/servers/s/routes/0/handle/0/upstreams";

pub struct Caddy {
    running: Running,
    address: SocketAddr,
    admin: SocketAddr,
    program: PathBuf,
    good: SocketAddr,
    bad: SocketAddr,
}

impl Caddy {
    pub const NAME: &str = "caddy";

    pub fn start(place: &Place, upstreams: &Upstreams) -> Result<Self> {
        let (room, address, admin) = (place.room("caddy")?, free_address()?, free_address()?);
        let proxy = json!({"handler": "reverse_proxy", "upstreams": dial(upstreams.bad_address)});
        let server = json!({
            "listen": [address.to_string()],
            "automatic_https": {"disable": true},
            "routes": [{"handle": [proxy]}],
        });
        let config = json!({
            "admin": {"listen": admin.to_string(), "config": {"persist": false}},
            "logging": {"logs": {"default": {"level": "ERROR"}}},
            "apps": {"http": {"servers": {"s": server}}},
        });
        std::fs::write(room.join("caddy.json"), config.to_string())?;
        let mut command = Command::new("caddy");
        command.arg("run").arg("--config").arg(room.join("caddy.json"));
        command.env("HOME", &room).env("XDG_DATA_HOME", &room).env("XDG_CONFIG_HOME", &room);
        let running = Running::start("caddy", command, &room)?;
        let program = place.program().to_owned();
        Ok(Self {
            running,
            address,
            admin,
            program,
            good: upstreams.good_address,
            bad: upstreams.bad_address,
        })
    }

    async fn switch(&self, to: SocketAddr) -> Result<Switched> {
        let body = dial(to).to_string();
        let mut command = Command::new(&self.program);
        command.args(["--send", &self.admin.to_string(), "PATCH", UPSTREAMS, &body]);
        let finished = run(&mut command).await?;
        Ok(Switched { started: finished.started, ended: finished.ended })
    }
}

fn dial(address: SocketAddr) -> serde_json::Value {
    json!([{"dial": address.to_string()}])
}

#[async_trait]
impl Peer for Caddy {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        self.switch(self.good).await
    }

    async fn forward(&mut self) -> Result<()> {
        self.switch(self.bad).await.map(drop)
    }

    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        Ok(vec![self.running.pid()?])
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.running.stop().await.context("caddy")
    }
}
