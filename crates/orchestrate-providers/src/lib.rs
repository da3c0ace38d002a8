//! Where releases run: the artifact store, and the `process` provider that runs them on this machine.

pub mod artifact;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod process;
pub mod witness;
