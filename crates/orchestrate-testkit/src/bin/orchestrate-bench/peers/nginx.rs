//! nginx, switched by writing its `upstream` anew, renaming it into place, and `nginx -s reload`.
//!
//! The reload only asks for it; it is true once a new connection is answered by the other version.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::process::Command;

use super::{Peer, Place, Switched, Upstreams};
use crate::client::{By, await_answer};
use crate::process::{Running, free_address, run};

const CONFIG: &str = "\
daemon off;
worker_processes 1;
pid ROOM/nginx.pid;
error_log ROOM/error.log warn;
USER
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ROOM/body;
  proxy_temp_path ROOM/proxy;
  fastcgi_temp_path ROOM/fastcgi;
  uwsgi_temp_path ROOM/uwsgi;
  scgi_temp_path ROOM/scgi;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  include ROOM/upstream.conf;
  server {
    listen ADDRESS;
    location / {
      proxy_pass http://be;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
  }
}
";

pub struct Nginx {
    running: Running,
    address: SocketAddr,
    room: PathBuf,
    good: SocketAddr,
    bad: SocketAddr,
}

impl Nginx {
    pub const NAME: &str = "nginx";

    pub fn start(place: &Place, upstreams: &Upstreams) -> Result<Self> {
        let (room, address) = (place.room("nginx")?, free_address()?);
        // Started by root its workers become someone who may not write here; by others the line is not allowed.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text =
            CONFIG.replace("ROOM", &room.display().to_string()).replace("ADDRESS", &address.to_string());
        std::fs::write(room.join("nginx.conf"), text.replace("USER", user))?;
        std::fs::write(room.join("upstream.conf"), upstream(upstreams.bad_address))?;
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&room)
            .arg("-e")
            .arg(room.join("error.log"))
            .arg("-c")
            .arg(room.join("nginx.conf"));
        let running = Running::start("nginx", command, &room)?;
        Ok(Self { running, address, room, good: upstreams.good_address, bad: upstreams.bad_address })
    }

    async fn switch(&self, to: SocketAddr, by: By) -> Result<Switched> {
        let room = self.room.display();
        let script = format!(
            "echo '{}' > {room}/upstream.new && mv {room}/upstream.new {room}/upstream.conf && \
             nginx -p {room} -e {room}/error.log -c {room}/nginx.conf -s reload",
            upstream(to)
        );
        let finished = run(Command::new("sh").arg("-c").arg(&script)).await?;
        await_answer(self.address, by).await?;
        Ok(Switched { started: finished.started, ended: Instant::now() })
    }
}

fn upstream(address: SocketAddr) -> String {
    format!("upstream be {{ server {address}; keepalive 512; keepalive_requests 1000000000; }}")
}

#[async_trait]
impl Peer for Nginx {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn back(&mut self) -> Result<Switched> {
        self.switch(self.good, By::Good).await
    }

    async fn forward(&mut self) -> Result<()> {
        self.switch(self.bad, By::Bad).await.map(drop)
    }

    /// The worker, which is the master's only child.
    async fn data_plane(&mut self) -> Result<Vec<u32>> {
        let pid = self.running.pid()?;
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        text.split_whitespace().map(|pid| pid.parse().context("a pid that is no number")).collect()
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.running.stop().await.context("nginx")
    }
}
