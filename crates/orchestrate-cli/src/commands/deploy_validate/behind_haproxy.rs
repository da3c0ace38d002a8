//! What an HAProxy of the user's must have before a release can be put behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use orchestrate_core::environment::{ProcessType, RouterSettings};
use orchestrate_core::pre_deploy_validation::{CheckFailure, PreDeployCheck};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fails;
use crate::wiring::{check_haproxy, reachable};

/// HAProxy listens where users come.
pub(super) struct Bound {
    pub process: String,
    pub address: SocketAddr,
}

#[async_trait]
impl PreDeployCheck for Bound {
    fn name(&self) -> String {
        format!("address of {}", self.process)
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        let address = reachable(self.address);
        match timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(format!("HAProxy listens on {}", self.address)),
            Ok(Err(_)) | Err(_) => Err(fails(
                format!("HAProxy does not listen on {}, the address of `{}`", self.address, self.process),
                format!("have in a frontend of haproxy.cfg, and reload HAProxy: bind {}", self.address),
            )),
        }
    }
}

/// It takes orders, and has the backends with their servers.
pub(super) struct Prepared {
    pub router: RouterSettings,
    pub processes: BTreeMap<String, ProcessType>,
}

#[async_trait]
impl PreDeployCheck for Prepared {
    fn name(&self) -> String {
        "haproxy".into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        check_haproxy(&self.router, &self.processes).await.map_err(|error| CheckFailure {
            message: error.full_message(),
            hint: error.hint_text().map(str::to_owned),
        })
    }
}
