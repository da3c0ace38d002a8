//! From shares in percent to the weights of servers, which HAProxy has from 0 to 256.

use std::collections::BTreeMap;

/// HAProxy's heaviest server.
const HEAVIEST: u32 = 256;
/// The weight of a server whose slot has all the traffic.
pub(super) const WHOLE: u32 = 100;
/// A share this far off is as good as exact: a hundredth of a percent.
const EXACT: f64 = 0.000_1;

/// How the servers of the two slots are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weights {
    /// So many servers of the slot, the first ones, have the weight; its others have none.
    pub first: (u32, u32),
    pub second: (u32, u32),
}

/// The weights by which `first` servers together get `percent` of the requests, and `second` servers the rest. All servers
/// take part, unless the share can only be met with fewer: one server beside ten cannot have 99 %.
pub(super) fn weights(percent: u8, first: u32, second: u32) -> Weights {
    let all = |count: u32, weight: u32| if count == 0 { (0, 0) } else { (count, weight) };
    match (percent, first, second) {
        (0, _, _) => Weights { first: (0, 0), second: all(second, WHOLE) },
        (100.., _, _) | (_, _, 0) => Weights { first: all(first, WHOLE), second: (0, 0) },
        (_, 0, _) => Weights { first: (0, 0), second: all(second, WHOLE) },
        (percent, first, second) => shared(percent, first, second),
    }
}

fn shared(percent: u8, first: u32, second: u32) -> Weights {
    let mut best: Option<(f64, Weights)> = None;
    for fewer in 0..first.max(second) {
        for one in [first.saturating_sub(fewer).max(1), first] {
            for other in [second, second.saturating_sub(fewer).max(1)] {
                let (error, found) = closest(percent, one, other);
                if error <= EXACT {
                    return found;
                }
                if best.is_none_or(|(least, _)| error < least) {
                    best = Some((error, found));
                }
            }
        }
    }
    best.map_or(Weights { first: (first, 1), second: (second, 1) }, |(_, found)| found)
}

/// The best that exactly so many servers can do, and how far off it is.
fn closest(percent: u8, one: u32, other: u32) -> (f64, Weights) {
    let wanted = f64::from(percent) / 100.0;
    let mut best = (f64::INFINITY, Weights { first: (one, 1), second: (other, 1) });
    for weight in 1..=HEAVIEST {
        let rest = f64::from(weight * one) * (1.0 - wanted) / wanted / f64::from(other);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is clamped to 1 to 256"
        )]
        let rest = rest.round().clamp(1.0, f64::from(HEAVIEST)) as u32;
        let share = f64::from(weight * one) / f64::from(weight * one + rest * other);
        let error = (share - wanted).abs();
        if error < best.0 - 1e-12 {
            best = (error, Weights { first: (one, weight), second: (other, rest) });
        }
    }
    best
}

/// The share in whole percent of weights that somebody else set; who has any is never told as nothing.
pub(super) fn percent(part: u32, whole: u32) -> u8 {
    if part == 0 || whole == 0 {
        return 0;
    }
    if part == whole {
        return 100;
    }
    let rounded = (u64::from(part) * 200 + u64::from(whole)) / (2 * u64::from(whole));
    u8::try_from(rounded.clamp(1, 99)).unwrap_or(99)
}

/// The weight of each of the named servers, in their order.
pub(super) fn spread<'a>(
    names: impl IntoIterator<Item = &'a str>,
    (count, weight): (u32, u32),
) -> BTreeMap<&'a str, u32> {
    let counted = names.into_iter().zip(0..);
    counted.map(|(name, index)| (name, if index < count { weight } else { 0 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(weights: Weights) -> f64 {
        let of = |(count, weight): (u32, u32)| f64::from(count * weight);
        of(weights.first) / (of(weights.first) + of(weights.second))
    }

    #[test]
    fn every_share_is_right_to_a_tenth_of_a_percent_whatever_the_numbers_of_servers() {
        for first in 1..=12 {
            for second in 1..=12 {
                for percent in 1..=99 {
                    let weights = weights(percent, first, second);
                    let error = (share(weights) - f64::from(percent) / 100.0).abs();
                    assert!(
                        error < 0.001,
                        "{percent} % for {first} beside {second}: {weights:?} is {error} off"
                    );
                    let heaviest = weights.first.1.max(weights.second.1);
                    assert!(heaviest <= HEAVIEST && weights.first.0 >= 1 && weights.second.0 >= 1);
                }
            }
        }
    }

    #[test]
    fn all_is_all_and_nothing_is_nothing() {
        assert_eq!(weights(0, 2, 3), Weights { first: (0, 0), second: (3, WHOLE) });
        assert_eq!(weights(100, 2, 3), Weights { first: (2, WHOLE), second: (0, 0) });
        assert_eq!(weights(30, 0, 3), Weights { first: (0, 0), second: (3, WHOLE) });
        assert_eq!(weights(1, 2, 2), Weights { first: (2, 1), second: (2, 99) });
    }

    #[test]
    fn a_small_share_is_never_told_as_none() {
        assert_eq!((percent(1, 1000), percent(999, 1000), percent(0, 5), percent(5, 5)), (1, 99, 0, 100));
        assert_eq!((percent(1, 3), percent(2, 3), percent(0, 0)), (33, 67, 0));
    }
}
