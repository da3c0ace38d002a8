//! What the tests of bad luck share: a home with real processes, a service to deploy, users of it, and a look at the truth.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what a failed test shows")]
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub mod cluster;
pub mod database;
pub mod dice;
pub mod disk;
pub mod load;
pub mod machine;
pub mod processes;
pub mod programs;
pub mod scene;
pub mod service;
pub mod streams;
pub mod truth;

use std::time::{Duration, Instant};

pub use load::{Load, Report};
pub use scene::{Ran, Running, Scene};

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until there is a value.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, &mut look)
}

pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Time that is itself what a test is about, or that lies between two looks.
#[expect(clippy::disallowed_methods, reason = "the one place where a test lets time pass")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
