//! What the cluster refused, and what that means to who asked.

use std::time::Duration;

use orchestrate_core::ports::{PortError, PortErrorKind};

use super::object::Object;
use super::security::Denial;

/// Why a request did not come about.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The API server answered with this status.
    Refused(Refusal),
    /// No answer, or none that can be understood: whether it was done is not known.
    Unreachable(String),
    /// It was not asked at all.
    Unasked(PortError),
}

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub code: u16,
    /// The API server's own words.
    pub message: String,
    /// How long the API server asks to be left alone.
    pub pause: Option<Duration>,
    /// What was asked, e.g. `patch deployments/shop-production-blue-web in shop`.
    asked: String,
    namespace: Option<String>,
}

impl Fault {
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.pause,
            Self::Unreachable(_) | Self::Unasked(_) => None,
        }
    }
}

impl Refusal {
    /// From the body of an answer, which is a `Status` unless something in between gave it.
    pub fn read(code: u16, body: &[u8], asked: &str) -> Self {
        let status = serde_json::from_slice(body).map(Object).ok();
        let said = status.as_ref().and_then(|status| status.text("/message")).map(str::to_owned);
        let message = said.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            if line.is_empty() { "no reason was given".to_owned() } else { line.chars().take(300).collect() }
        });
        let of_namespace = |status: &&Object| status.text("/details/kind") == Some("namespaces");
        let named = status.as_ref().filter(of_namespace).and_then(|status| status.text("/details/name"));
        let namespace = named.map(str::to_owned).or_else(|| missing_namespace(code, &message));
        Self { code, message, pause: None, asked: asked.to_owned(), namespace }
    }

    #[must_use]
    pub fn after(self, pause: Option<Duration>) -> Self {
        Self { pause, ..self }
    }

    /// The object was changed meanwhile, or is there already.
    pub const fn is_conflict(&self) -> bool {
        self.code == 409
    }

    /// The object is not there; its namespace is.
    pub const fn is_missing(&self) -> bool {
        self.code == 404 && self.namespace.is_none()
    }

    /// The version that a watch began at is too old, or credentials expired, which a list renews.
    pub const fn needs_a_list(&self) -> bool {
        matches!(self.code, 410 | 401)
    }

    /// There is too much to do, or the server is not well: the same may be asked again.
    pub const fn may_pass(&self) -> bool {
        matches!(self.code, 429 | 500 | 502..=504)
    }
}

/// `namespaces "shop" not found`.
fn missing_namespace(code: u16, message: &str) -> Option<String> {
    let rest = message.strip_prefix("namespaces \"").filter(|_| code == 404)?;
    rest.split('"').next().map(str::to_owned)
}

impl From<Fault> for PortError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unasked(error) => error,
            Fault::Unreachable(why) => Self::unreachable(why),
            Fault::Refused(refusal) => told(&refusal),
        }
    }
}

fn told(refusal: &Refusal) -> PortError {
    let Refusal { code, message, asked, namespace, .. } = refusal;
    match (*code, namespace) {
        (404, Some(namespace)) => {
            PortError::new(PortErrorKind::Missing, format!("the namespace {namespace} is not in the cluster"))
                .detail(format!("create it: kubectl create namespace {namespace}"))
        }
        (401, _) => PortError::failed(format!(
            "the cluster does not accept the credentials of the kubeconfig; they may have expired: {message}"
        ))
        .detail("log in again, then try: kubectl auth whoami"),
        (403, _) => {
            let denial = Denial::read(message);
            let told = match denial {
                Denial::Rights => format!("it is not allowed to {asked}: {message}"),
                Denial::Quota => format!("a quota does not allow to {asked}: {message}"),
                Denial::PodSecurity | Denial::Policy | Denial::Other => {
                    format!("the cluster's admission does not allow to {asked}: {message}")
                }
            };
            PortError::failed(told).detail(denial.advice())
        }
        (404, None) => PortError::new(PortErrorKind::Missing, format!("nothing to {asked}: {message}")),
        (429 | 500..=599, _) => {
            PortError::unreachable(format!("the cluster could not {asked} (status {code}): {message}"))
        }
        _ => PortError::failed(format!("the cluster refused to {asked} (status {code}): {message}")),
    }
}
