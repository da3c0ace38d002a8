//! What the tests of the program share: a home of its own, the real binary, a service to deploy, and an end to it all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a test that failed shows the logs")]
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub mod haproxy;
pub mod load;
pub mod ran;
pub mod receiver;
pub mod scene;
pub mod shape;

use std::time::{Duration, Instant};

pub use ran::{Ran, Running};
pub use receiver::Receiver;
pub use scene::Scene;

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is a value.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Time between two looks, or time that is itself what a test is about.
#[expect(clippy::disallowed_methods, reason = "the one place where a test lets time pass")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
