//! Where releases run: the artifact store, and the `process` provider that runs them on this machine.

pub mod artifact;
pub mod process;
pub mod witness;
