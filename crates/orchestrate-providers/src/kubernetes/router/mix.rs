//! Shares of the traffic by numbers of pods: how many of each of two releases come nearest to what is asked.

/// So many pods of each get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    pub target: usize,
    pub rest: usize,
}

impl Mix {
    /// The nearest to `weight` percent for the target, of so many pods that are ready, and never fewer than `least` together;
    /// of two that are as near, the one with more pods. None, where one of the two has no pod, or both have too few.
    pub fn nearest(weight: u8, target: usize, rest: usize, least: usize) -> Option<Self> {
        let share = usize::from(weight.clamp(1, 99));
        let near = (1..=target).flat_map(|of_target| {
            let exact = of_target * (100 - share) / share;
            let fewest = least.saturating_sub(of_target).max(1);
            [exact, exact + 1].map(|of_rest| Self { target: of_target, rest: of_rest.max(fewest).min(rest) })
        });
        let possible = near.filter(|mix| mix.rest > 0 && mix.all() >= least);
        possible.min_by(|one, other| one.compare(other, share))
    }

    pub const fn all(self) -> usize {
        self.target + self.rest
    }

    /// What the target gets, in percent; neither nothing nor everything.
    pub fn percent(self) -> u8 {
        let percent = (self.target * 100 + self.all() / 2).checked_div(self.all()).unwrap_or(0);
        u8::try_from(percent.clamp(1, 99)).unwrap_or(99)
    }

    fn compare(&self, other: &Self, share: usize) -> std::cmp::Ordering {
        let off = |mix: &Self| (mix.target * 100).abs_diff(share * mix.all());
        // As fractions: how far it is off, of how many.
        (off(self) * other.all()).cmp(&(off(other) * self.all())).then(other.all().cmp(&self.all()))
    }
}

/// What shares by numbers of pods come to, for people: `steps` in percent, with so many instances of each release.
pub fn described(steps: &[u8], instances: u32) -> String {
    let count = instances as usize;
    let told = steps.iter().filter(|step| **step < 100).map(|step| {
        match Mix::nearest(*step, count, count, count).map(Mix::percent) {
            Some(percent) if percent == *step => format!("{step}% is {step}%"),
            Some(percent) => format!("{step}% becomes {percent}%"),
            None => format!("{step}% cannot be"),
        }
    });
    let told: Vec<String> = told.collect();
    let instances = if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") };
    format!(
        "without an HTTPRoute shares go by numbers of pods, and by connections: with {instances} of each release {}; \
         for exact ones name a route: `kubernetes: {{ route: NAME }}`",
        told.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(target: usize, rest: usize) -> Option<Mix> {
        Some(Mix { target, rest })
    }

    #[test]
    fn the_nearest_share_that_pods_can_make() {
        assert_eq!(Mix::nearest(10, 10, 10, 10), mix(1, 9));
        assert_eq!(Mix::nearest(25, 10, 10, 10), mix(3, 9));
        assert_eq!(Mix::nearest(50, 10, 10, 10), mix(10, 10), "of two exact ones, that with more pods");
        assert_eq!(Mix::nearest(90, 10, 10, 10), mix(9, 1));
        assert_eq!(Mix::nearest(10, 2, 2, 2), mix(1, 2));
        assert_eq!(Mix::nearest(1, 1, 1, 1), mix(1, 1));
        assert_eq!(Mix::nearest(10, 0, 2, 2), None);
        assert_eq!(Mix::nearest(10, 2, 0, 2), None);
        assert_eq!(Mix::nearest(10, 1, 1, 3), None, "fewer than are needed");
    }

    /// Against every mix that there is.
    #[test]
    fn no_other_mix_is_nearer_and_none_has_too_few() {
        for (target, rest) in [(1, 1), (1, 9), (2, 2), (3, 5), (7, 7), (12, 4)] {
            for weight in 1..100_u8 {
                for least in 1..=target.max(rest) {
                    let found = Mix::nearest(weight, target, rest, least).unwrap();
                    assert!(found.all() >= least && (1..=target).contains(&found.target));
                    assert!((1..=rest).contains(&found.rest));
                    let share = usize::from(weight);
                    let all =
                        (1..=target).flat_map(|target| (1..=rest).map(move |rest| Mix { target, rest }));
                    let nearer =
                        all.filter(|mix| mix.all() >= least).find(|mix| mix.compare(&found, share).is_lt());
                    assert_eq!(nearer, None, "{weight}% of {target} and {rest}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn what_shares_come_to_is_told() {
        let told = described(&[10, 50, 100], 2);
        assert!(told.contains("with 2 instances of each release 10% becomes 33%, 50% is 50%;"), "{told}");
        let told = described(&[30], 4);
        assert!(told.contains("30% becomes 33%"), "{told}");
    }
}
