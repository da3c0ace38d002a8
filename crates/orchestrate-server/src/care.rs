//! What this daemon looks after: where several machines share a database, the environments of its own home, and those of
//! clusters whose turn it is. It says regularly that it is alive; who does not is taken over from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::Result;
use orchestrate_core::database::{Holder, Site};
use orchestrate_core::name::EnvironmentName;

use crate::Daemon;

/// The environments that this daemon may act in, at the moment of the question.
pub(crate) enum Care {
    /// Nobody else could.
    All,
    Of(BTreeSet<EnvironmentName>),
}

impl Care {
    pub fn is_for(&self, environment: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::Of(names) => names.contains(environment),
        }
    }

    /// All of them, where there are others that it may not act in.
    pub fn names(self) -> Option<Vec<EnvironmentName>> {
        match self {
            Self::All => None,
            Self::Of(names) => Some(names.into_iter().collect()),
        }
    }
}

impl Daemon {
    pub async fn care(&self) -> Result<Care> {
        let Some((site, holder)) = self.self_in_records() else { return Ok(Care::All) };
        let names = self.options.db.in_care_of(&site, &holder).await?;
        Ok(Care::Of(names.into_iter().collect()))
    }

    fn self_in_records(&self) -> Option<(Site, Holder)> {
        let host = &self.options.ports.host;
        host.site().map(|site| (site, host.holder("daemon")))
    }

    /// The site that duties are taken for; none where there are no others.
    pub fn site(&self) -> Option<Site> {
        self.options.ports.host.site()
    }
}

/// Before the first task asks.
pub(crate) async fn begin(daemon: &Daemon) {
    look(daemon).await;
}

/// Says so again in time, twice before it counts as dead.
pub(crate) async fn keep(daemon: Arc<Daemon>) {
    if daemon.site().is_none() {
        return std::future::pending().await;
    }
    let mut pulse = tokio::time::interval(often(&daemon));
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pulse.tick() => look(&daemon).await,
            // An environment of a cluster may be new.
            () = daemon.bell.care.notified() => take_more(&daemon).await,
        }
    }
}

async fn take_more(daemon: &Daemon) {
    let Some(site) = daemon.site() else { return };
    let (db, ttl) = (&daemon.options.db, daemon.options.ports.lease_ttl);
    if let Err(error) = db.take_care(&site, ttl, false).await {
        tracing::warn!("what is to be looked after could not be seen: {}", error.full_message());
    }
}

fn often(daemon: &Daemon) -> Duration {
    daemon.options.ports.lease_ttl.duration() / 3
}

async fn look(daemon: &Daemon) {
    if let Err(error) = beat(daemon).await {
        tracing::warn!("the others could not be told that this daemon is alive: {}", error.full_message());
    }
}

async fn beat(daemon: &Daemon) -> Result<()> {
    let Some((site, holder)) = daemon.self_in_records() else { return Ok(()) };
    let (db, ttl) = (&daemon.options.db, daemon.options.ports.lease_ttl);
    if !db.beat(&site, &holder, daemon.options.version, ttl).await? {
        tracing::error!(
            "ORC-0420: another daemon speaks for this home ({}), from a copy of this machine; nothing is looked after here",
            site.home
        );
        return Ok(());
    }
    db.take_care(&site, ttl, true).await?;
    own_what_is_here(daemon, &site).await
}

/// What an older program deployed has no owner yet: whoever has its instances is, or the only site that there is.
async fn own_what_is_here(daemon: &Daemon, site: &Site) -> Result<()> {
    let db = &daemon.options.db;
    for name in db.without_owner().await? {
        let here = match daemon.options.ports.provider.instances(&name).await {
            Ok(instances) => !instances.is_empty() || db.is_only_site(site).await?,
            Err(_) => false,
        };
        if here && db.own(&name, site).await? {
            tracing::info!("{name} runs in this home; that is recorded from now on");
            daemon.bell.ring();
        }
    }
    Ok(())
}

/// Nobody has to wait until this daemon counts as dead.
pub(crate) async fn end(daemon: &Daemon) {
    let Some((site, holder)) = daemon.self_in_records() else { return };
    let signed =
        tokio::time::timeout(Duration::from_secs(2), daemon.options.db.sign_off(&site, &holder)).await;
    match signed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the others could not be told of the end: {}", error.full_message()),
        Err(_) => tracing::warn!("the others could not be told of the end in time"),
    }
}
