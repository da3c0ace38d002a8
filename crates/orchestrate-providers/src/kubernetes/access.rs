//! How a cluster is reached: by a kubeconfig, or from within. Clients are made when they are needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use orchestrate_core::environment::Kubernetes;
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult};

/// What tells one way in from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    kubeconfig: Option<String>,
    context: Option<String>,
}

impl Way {
    pub fn of(settings: &Kubernetes) -> Self {
        Self { kubeconfig: settings.kubeconfig.clone(), context: settings.context.clone() }
    }
}

/// The clients of a program; all who ask the same cluster share one.
#[derive(Default)]
pub(super) struct Access {
    clients: Mutex<HashMap<Way, Client>>,
}

impl Access {
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    pub async fn client(&self, way: &Way) -> PortResult<Client> {
        let known = self.lock().get(way).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = connect(way).await?;
        Ok(self.lock().entry(way.clone()).or_insert(client).clone())
    }

    /// Credentials are read anew by who asks next: they may have been renewed.
    pub fn forget(&self, way: &Way) {
        self.lock().remove(way);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Way, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(way: &Way) -> PortResult<Client> {
    // Who made one before keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = config(way).await?;
    // We try again ourselves, by what the cluster says about when.
    config.default_retry = false;
    Client::try_from(config).map_err(|cause| unusable(way, &cause))
}

async fn config(way: &Way) -> PortResult<Config> {
    let options = KubeConfigOptions { context: way.context.clone(), ..KubeConfigOptions::default() };
    let read = match &way.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let loaded = match read {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
        // Within a cluster nobody has a kubeconfig.
        Err(cause) if is_within(way, &cause) => {
            return Config::incluster().map_err(|cause| unusable(way, &cause));
        }
        Err(cause) => Err(cause),
    };
    loaded.map_err(|cause| unusable(way, &cause))
}

fn is_within(way: &Way, cause: &KubeconfigError) -> bool {
    let nowhere = match cause {
        KubeconfigError::ReadConfig(cause, _) => cause.kind() == std::io::ErrorKind::NotFound,
        cause => matches!(cause, KubeconfigError::FindPath),
    };
    let named = way.kubeconfig.is_some() || way.context.is_some() || std::env::var_os("KUBECONFIG").is_some();
    nowhere && !named && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn unusable(way: &Way, cause: &dyn std::error::Error) -> PortError {
    let what = match &way.kubeconfig {
        Some(path) => format!("the kubeconfig {path}"),
        None => "the kubeconfig of KUBECONFIG or ~/.kube/config".to_owned(),
    };
    let context = way.context.as_ref().map(|name| format!(" with the context {name}")).unwrap_or_default();
    PortError::new(PortErrorKind::Missing, format!("{what}{context} cannot be used: {}", chain(cause)))
        .detail(format!("try it: {}", command(way)))
}

/// What a person types to see the same.
fn command(way: &Way) -> String {
    let option = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(" --{name} {value}")).unwrap_or_default()
    };
    format!("kubectl{}{} version", option("kubeconfig", &way.kubeconfig), option("context", &way.context))
}

/// An error with its causes, where they say more.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
