//! The end of the proxy that takes over.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::time::timeout;

use super::{Conversation, hear, say};
use crate::hold::ListenerHold;
use crate::options::ProxyError;
use crate::protocol::{Legacy, Reply, Request};
use crate::unix;

/// How long the elder may take to write its state, and to let changes end that are under way.
const YIELD: Duration = Duration::from_secs(5);
/// How long it may take to close its sockets. One that does not answer is stopped, so it takes no connections either.
const RETIRE: Duration = Duration::from_secs(2);

/// A proxy whose elder has yielded. Dropped, it leaves everything to the elder.
pub(crate) struct Heir {
    elder: Conversation,
    pub legacy: Legacy,
    pub sockets: BTreeMap<SocketAddr, OwnedFd>,
}

impl Heir {
    pub async fn ask(socket: &Path) -> Result<Self, ProxyError> {
        let asked = timeout(YIELD, ask(socket)).await;
        let asked = asked.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")));
        asked.map_err(|error| ProxyError::TakeOver { why: error.to_string() })
    }

    /// Tells the elder to retire; returns once it takes no more connections.
    pub async fn take_over(mut self) {
        let retired = async {
            say(&mut self.elder, &Request::Retire).await?;
            hear::<Reply>(&mut self.elder).await
        };
        match timeout(RETIRE, retired).await {
            Ok(Ok(Reply::Done)) => tracing::info!("the elder has retired"),
            // It is gone, or stopped; neither serves, and its word is in its inbox.
            Ok(other) => tracing::warn!("the elder did not say that it retires: {other:?}"),
            Err(_) => tracing::warn!("the elder does not answer"),
        }
    }
}

async fn ask(socket: &Path) -> io::Result<Heir> {
    let mut elder = BufReader::new(unix::connect(socket).await?);
    say(&mut elder, &Request::Yield).await?;
    let legacy = match hear(&mut elder).await? {
        Reply::Yielded(legacy) => legacy,
        Reply::Refused(error) => return Err(io::Error::other(error.message)),
        other => return Err(io::Error::other(format!("it answered {other:?}"))),
    };
    // No address is opened or closed any more, so these are all.
    let sockets = ListenerHold::take(socket).await?.into_held();
    Ok(Heir { elder, legacy, sockets })
}
