//! Where releases run: the artifact store, and the providers that run them.

pub mod artifact;
pub mod custom;
pub mod docker;
mod elsewhere;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hosted;
pub mod kubernetes;
mod memory;
pub mod process;
pub mod routers;
mod spec;
pub mod static_site;
pub mod swarm;
pub mod witness;

pub use hosted::Hosted;
pub use spec::{RunSpec, RunSpecs};
