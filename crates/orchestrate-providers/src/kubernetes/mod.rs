//! Workloads of a Kubernetes cluster: a provider that runs releases as Deployments, and a router that has Services and an
//! HTTPRoute point at them. Both keep what they must know in the cluster: labels, annotations, and one small ConfigMap with the
//! fence.

mod access;
mod anchor;
mod api;
mod await_healthy;
mod contents;
mod drift;
mod fault;
mod fetch;
mod follow;
mod hopeless;
mod image;
mod job;
mod lines;
mod live;
mod logs;
mod manifests;
mod names;
mod object;
mod objects;
mod owners;
mod provider;
mod router;
mod security;
mod send;
mod site;
mod start;
mod stop;

pub use image::resolve;
pub use logs::{Line, Logs, Wanted};
pub use manifests::{Found as FoundManifests, read as read_manifests};
pub use provider::KubernetesProvider;
pub use router::KubernetesRouter;
pub use router::described as shares_by_pods;
pub use site::{Place, Places};
