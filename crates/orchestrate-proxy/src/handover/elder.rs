//! The end of the proxy that is taken over from.

use std::io;

use orchestrate_core::ports::PortError;
use tokio::sync::OwnedRwLockWriteGuard;

use super::{Conversation, Tenure, hear, say};
use crate::protocol::{Legacy, Reply, Request};
use crate::registry::Registry;

/// An elder that was told to retire, and has not answered yet.
pub(crate) struct Retired {
    heir: Conversation,
    /// Changes are the heir's from now on.
    _frozen: OwnedRwLockWriteGuard<()>,
}

impl Retired {
    /// Tells the heir that no connection is taken here any more.
    pub async fn confirm(&mut self) {
        // An heir that is gone by now has a heir of its own, who does not need the word.
        if let Err(error) = say(&mut self.heir, &Reply::Done).await {
            tracing::warn!(%error, "the heir is gone");
        }
    }
}

/// Hands over, up to the word to retire; none where the heir went away before it, and everything is as it was.
pub(crate) async fn yield_to(
    mut heir: Conversation,
    frozen: OwnedRwLockWriteGuard<()>,
    registry: &Registry,
    tenure: &Tenure,
) -> Option<Retired> {
    if let Err(error) = registry.persisted().await {
        // The heir reads the state from the disk, so one that is not there cannot be handed over.
        let _ = say(&mut heir, &Reply::Refused(error)).await;
        return None;
    }
    tenure.release();
    match offer(&mut heir, registry).await {
        Ok(()) => Some(Retired { heir, _frozen: frozen }),
        Err(error) => {
            tracing::warn!(%error, "the heir did not take over");
            tenure.take_back().await;
            registry.save_again();
            None
        }
    }
}

async fn offer(heir: &mut Conversation, registry: &Registry) -> io::Result<()> {
    let legacy = Legacy { token: registry.token().to_owned(), healthy: registry.seen_healthy() };
    say(heir, &Reply::Yielded(legacy)).await?;
    match hear(heir).await? {
        Request::Retire => Ok(()),
        other => {
            let refused = PortError::failed(format!("{other:?} is not what an heir says"));
            let _ = say(heir, &Reply::Refused(refused)).await;
            Err(io::Error::other("the heir said something else"))
        }
    }
}
