//! One daemon at a time delivers to a channel; who dies in the middle is taken over from when its time is up.

use orchestrate_core::Result;
use orchestrate_core::database::{OutboxRecord, Site};
use orchestrate_core::notification::Channel;
use orchestrate_core::release::Digest;

use crate::Daemon;

/// A channel, as this daemon wants to deliver to it.
pub(super) struct Turn<'a> {
    daemon: &'a Daemon,
    site: &'a Site,
    duty: String,
}

/// Whose turn it is.
pub(super) enum Taken {
    Here,
    ByAnother,
    /// There is nothing to deliver any more.
    Done,
}

impl<'a> Turn<'a> {
    pub fn of(daemon: &'a Daemon, site: &'a Site, channel: &Channel) -> Self {
        let duty = format!("channel/{}", Digest::of(channel.endpoint().as_bytes()));
        Self { daemon, site, duty }
    }

    /// Whether it is this daemon's turn, and the notice still waits: the records were read before that.
    pub async fn take(&self, record: &OutboxRecord) -> Result<Taken> {
        let options = &self.daemon.options;
        if !options.db.take_duty(&self.duty, &self.site.id, options.ports.lease_ttl).await? {
            return Ok(Taken::ByAnother);
        }
        if options.db.is_due(record.id, options.ports.clock.now()).await? {
            return Ok(Taken::Here);
        }
        options.db.leave_duty(&self.duty, &self.site.id).await?;
        Ok(Taken::Done)
    }

    /// A delivery whose turn is lost is broken off: somebody else makes it.
    pub async fn keep_during(&self, delivery: impl Future<Output = ()>) {
        tokio::select! {
            () = delivery => {}
            () = self.lost() => {
                tracing::warn!("a delivery took too long and is left to another daemon");
                return;
            }
        }
        if let Err(error) = self.daemon.options.db.leave_duty(&self.duty, &self.site.id).await {
            tracing::debug!("the others wait for the end of this turn: {}", error.full_message());
        }
    }

    async fn lost(&self) {
        let options = &self.daemon.options;
        let ttl = options.ports.lease_ttl;
        loop {
            tokio::time::sleep(ttl.duration() / 3).await;
            match options.db.take_duty(&self.duty, &self.site.id, ttl).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!("a turn could not be kept: {}", error.full_message()),
            }
        }
    }
}
