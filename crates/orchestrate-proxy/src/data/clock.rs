//! A coarse clock for timeouts: a number that the worker's reaper moves on, so that reading it costs nothing.

use std::cell::Cell;
use std::time::Duration;

/// How long one tick lasts.
pub(super) const TICK: Duration = Duration::from_millis(250);

thread_local! {
    static NOW: Cell<u32> = const { Cell::new(0) };
}

/// Ticks since the worker started; it stands still while the worker has nothing to time.
pub(super) fn now() -> u32 {
    NOW.get()
}

pub(super) fn advance() {
    NOW.set(NOW.get().wrapping_add(1));
}

/// The ticks that a duration lasts, rounded up, and one more because the first may be nearly over.
pub(super) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX / 4).min(u32::MAX / 4)
        + 1
}
