//! The pauses between attempts to deliver one notice.

use orchestrate_core::time::Span;

/// In seconds; the last one repeats.
const PAUSES: [u64; 6] = [5, 30, 120, 600, 1_800, 3_600];

/// The pause after the given number of failed attempts: 5 s, 30 s, 2 m, 10 m, 30 m, 1 h, then always 1 h.
///
/// `jitter` is between 0 and 1 and moves the pause by up to a tenth either way, so that receivers that were down
/// together are not asked together; 0.5 leaves it as it is.
pub fn backoff(attempt: u32, jitter: f64) -> Span {
    let failed = usize::try_from(attempt.max(1)).unwrap_or(usize::MAX);
    let pause = PAUSES[(failed - 1).min(PAUSES.len() - 1)];
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
    let permille = (900.0 + 200.0 * jitter).round() as u64;
    Span::from_millis(pause * permille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_stay_there() {
        let pauses: Vec<_> = (1..=8).map(|attempt| backoff(attempt, 0.5).to_string()).collect();
        assert_eq!(pauses, ["5s", "30s", "2m", "10m", "30m", "1h", "1h", "1h"]);
        assert_eq!(backoff(0, 0.5), backoff(1, 0.5));
        assert_eq!(backoff(u32::MAX, 0.5), Span::from_secs(3_600));
    }

    #[test]
    fn jitter_moves_a_pause_by_a_tenth_at_most() {
        assert_eq!(backoff(1, 0.0), Span::from_millis(4_500));
        assert_eq!(backoff(1, 1.0), Span::from_millis(5_500));
        assert_eq!(backoff(1, 7.0), Span::from_millis(5_500));
        assert_eq!(backoff(1, -7.0), Span::from_millis(4_500));
        assert_eq!(backoff(1, f64::NAN), Span::from_secs(5));
    }
}
