//! Places where a test makes this program die, sleep or fail; docs/decisions/0021 says how. Without the feature
//! `failpoints` nothing is left of them.

#[cfg(feature = "failpoints")]
mod injected;
#[cfg(feature = "failpoints")]
mod panel;
#[cfg(feature = "failpoints")]
mod rule;

#[cfg(feature = "failpoints")]
pub use injected::{Injected, MadeToFail};
#[cfg(feature = "failpoints")]
pub use panel::{Passing, reach, this_is};

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("failpoints are for tests; no program that people run has them");

/// Wraps an effect, an expression that is a `Result`: `failpoint!("routes/rename", fs::rename(from, to))?`.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal, $effect:expr) => {
        $effect
    };
}

/// Wraps an effect, an expression that is a `Result`: `failpoint!("routes/rename", fs::rename(from, to))?`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal, $effect:expr) => {
        match $crate::failpoint::reach($name) {
            Ok(passing) => {
                let done = $effect;
                passing.on(done)
            }
            Err(injected) => injected.told(),
        }
    };
}
