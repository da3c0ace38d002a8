//! An HAProxy that the user has already: told over its runtime API who gets traffic. What it does not remember itself
//! (fences, releases, what it was told before it was restarted) is in a [book] of ours.

mod book;
mod change;
mod check;
mod client;
mod counts;
mod drain;
mod look;
mod prove;
mod seats;
mod share;
mod tell;
mod view;
mod watching;

pub use check::check;
pub use prove::reachable;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use orchestrate_core::environment::RouterSettings;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Close, Deregister, Drain, Drained, PortError, PortResult, Proof, Prove, Register, ReleaseCounts, Router,
    RouterView, Switch,
};
use orchestrate_core::traffic::Shift;
use tokio::sync::watch;

use book::Books;

/// Which HAProxy is in front of an environment.
#[async_trait]
pub trait RouterLookup: Send + Sync {
    /// Nothing, where there is none.
    async fn router_settings(&self, environment: &EnvironmentName) -> PortResult<Option<RouterSettings>>;
}

/// Directs the HAProxy in front of each environment.
pub struct HaproxyRouter {
    books: Books,
    lookup: Arc<dyn RouterLookup>,
    /// The environments that were asked about, for [`Router::persisted`].
    touched: Mutex<BTreeMap<EnvironmentName, RouterSettings>>,
    /// Counts the HAProxies that were started anew.
    anew: watch::Sender<u64>,
}

impl HaproxyRouter {
    pub fn new(home: &Path, lookup: Arc<dyn RouterLookup>) -> Self {
        Self { books: Books::new(home), lookup, touched: Mutex::default(), anew: watch::Sender::new(0) }
    }

    async fn settings(&self, environment: &EnvironmentName) -> PortResult<RouterSettings> {
        let settings = self.lookup.router_settings(environment).await?;
        let settings = settings.ok_or_else(|| {
            PortError::failed(format!("{environment} has no HAProxy"))
                .detail("write `router` in its part of the config file, and apply it: orchestrate env apply")
        })?;
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.insert(environment.clone(), settings.clone());
        Ok(settings)
    }

    fn touched(&self) -> BTreeMap<EnvironmentName, RouterSettings> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Router for HaproxyRouter {
    async fn register(&self, request: &Register) -> PortResult<()> {
        self.register_and_wait(request).await
    }

    async fn switch(&self, request: &Switch) -> PortResult<()> {
        self.switch_all(request).await
    }

    async fn shift(&self, request: &Shift) -> PortResult<()> {
        self.share_out(request).await
    }

    async fn persisted(&self) -> PortResult<()> {
        for (environment, settings) in self.touched() {
            self.outlives(&environment, &settings).await?;
        }
        Ok(())
    }

    async fn observe(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        self.view(environment).await
    }

    async fn counts(&self, environment: &EnvironmentName) -> PortResult<Vec<ReleaseCounts>> {
        self.counted(environment).await
    }

    async fn prove(&self, request: &Prove) -> PortResult<Proof> {
        self.proof(request).await
    }

    async fn drain(&self, request: &Drain) -> PortResult<Drained> {
        self.drained(request).await
    }

    async fn deregister(&self, request: &Deregister) -> PortResult<()> {
        self.forget(request).await
    }

    async fn close(&self, request: &Close) -> PortResult<()> {
        self.forget_all(request).await
    }
}
