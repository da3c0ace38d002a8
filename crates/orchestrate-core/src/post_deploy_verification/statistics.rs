//! How sure a share is: Wilson's score interval, which also holds for few answers and for shares near 0 or 1.

/// Standard deviations: a release is looked at many times, so one look must hardly ever be wrong (one in 700).
const SURE: f64 = 3.0;

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn interval(some: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (share, all, square) = (some as f64 / all as f64, all as f64, SURE * SURE);
    let width = 1.0 + square / all;
    let middle = (share + square / (2.0 * all)) / width;
    let half = SURE / width * (share * (1.0 - share) / all + square / (4.0 * all * all)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The share that it surely reaches.
pub(super) fn lower_bound(some: u64, all: u64) -> f64 {
    interval(some, all).0
}

/// The share that it surely does not pass.
pub(super) fn upper_bound(some: u64, all: u64) -> f64 {
    interval(some, all).1
}

/// Whether a share is above a limit, and not just by the way in which numbers are kept.
pub(super) fn above(share: f64, limit: f64) -> bool {
    share > limit + 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    proptest! {
        #[test]
        fn the_share_lies_within_its_bounds(all in 1_u64..1_000_000, part in 0.0_f64..=1.0) {
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of it")]
            let some = (all as f64 * part) as u64;
            let share = some as f64 / all as f64;
            let (low, high) = (lower_bound(some, all), upper_bound(some, all));
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            prop_assert!(low <= share + 1e-9 && share <= high + 1e-9);
        }
    }

    #[test]
    fn fifty_answers_tell_forty_percent_from_one_but_not_two_from_one() {
        assert!(lower_bound(20, 50) > 0.2);
        assert!(lower_bound(1, 50) < 0.01);
        assert!(lower_bound(40, 2_000) > 0.01, "two thousand do");
        assert_eq!((lower_bound(0, 0), upper_bound(0, 0)), (0.0, 1.0));
    }
}
