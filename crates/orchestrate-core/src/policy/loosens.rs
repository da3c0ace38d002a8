//! Which changes of a policy let more happen than before: those are made on purpose, never by the way.

use super::Policy;
use crate::environment::EnvironmentSettings;
use crate::time::Timestamp;

/// What `after` allows that `before` did not, each in a few words.
pub fn loosened(before: &EnvironmentSettings, after: &EnvironmentSettings, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |is: bool, what: &str| {
        if is {
            found.push(what.to_owned());
        }
    };
    note(before.requires_approval && !after.requires_approval, "`requires_approval`");
    let (old, new) = (&*before.policy, &*after.policy);
    if before.requires_approval && after.requires_approval {
        note(loosens_approval(old, new), "`approval`");
    }
    note(old.require_reason && !new.require_reason, "`require_reason`");
    let (old_limits, new_limits) = (&old.rollback, &new.rollback);
    note(rises(old_limits.max_back, new_limits.max_back), "`rollback.max_back`");
    note(rises(old_limits.max_age, new_limits.max_age), "`rollback.max_age`");
    let often = rises(old_limits.manual_at_most_per_hour, new_limits.manual_at_most_per_hour);
    note(often, "`rollback.manual_at_most_per_hour`");
    note(new_limits.in_freeze < old_limits.in_freeze, "`rollback.in_freeze`");
    for freeze in old.freezes.iter().filter(|freeze| !freeze.is_over(now)) {
        note(
            !new.freezes.iter().any(|other| other.covers(freeze, now)),
            &format!("the freeze `{}`", freeze.name),
        );
    }
    found
}

fn loosens_approval(old: &Policy, new: &Policy) -> bool {
    let (old, new) = (&old.approval, &new.approval);
    let others = match (old.by.is_empty(), new.by.is_empty()) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => new.by.iter().any(|name| !old.by.contains(name)),
    };
    new.count < old.count || others || new.valid_for > old.valid_for
}

/// Whether a limit is higher than before, or gone.
fn rises<T: PartialOrd>(old: Option<T>, new: Option<T>) -> bool {
    match (old, new) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => new > old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Freeze, InFreeze, When};
    use crate::time::Span;

    fn settings(change: impl FnOnce(&mut EnvironmentSettings)) -> EnvironmentSettings {
        let mut settings = EnvironmentSettings::default();
        change(&mut settings);
        settings
    }

    fn freeze(from: &str, to: &str) -> Freeze {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let when = When::Period { from, to, time_zone: crate::policy::Zone::default() };
        Freeze { name: "year end".into(), when }
    }

    #[test]
    fn every_way_of_allowing_more_is_seen_and_no_way_of_allowing_less() {
        let now: Timestamp = "2026-11-28T09:00:00Z".parse().unwrap();
        type Change = fn(&mut EnvironmentSettings);
        let pairs: [(&str, Change, Change); 8] = [
            ("`requires_approval`", |s| s.requires_approval = true, |_| {}),
            ("`require_reason`", |s| s.policy.require_reason = true, |_| {}),
            (
                "`rollback.max_back`",
                |s| s.policy.rollback.max_back = Some(2),
                |s| {
                    s.policy.rollback.max_back = Some(3);
                },
            ),
            ("`rollback.max_age`", |s| s.policy.rollback.max_age = Some(Span::from_secs(60)), |_| {}),
            (
                "`rollback.manual_at_most_per_hour`",
                |s| s.policy.rollback.manual_at_most_per_hour = Some(1),
                |_| {},
            ),
            ("`rollback.in_freeze`", |_| {}, |s| s.policy.rollback.in_freeze = InFreeze::Freely),
            (
                "the freeze `year end`",
                |s| s.policy.freezes = vec![freeze("2026-12-19T00:00", "2027-01-04T00:00")],
                |_| {},
            ),
            (
                "`approval`",
                |s| {
                    s.requires_approval = true;
                    s.policy.approval.by = vec!["ada".into()];
                },
                |s| {
                    s.requires_approval = true;
                    s.policy.approval.by = vec!["ada".into(), "ben".into()];
                },
            ),
        ];
        for (what, strict, loose) in pairs {
            let (strict, loose) = (settings(strict), settings(loose));
            assert_eq!(loosened(&strict, &loose, now), [what]);
            assert_eq!(loosened(&strict, &strict, now), Vec::<String>::new(), "{what}");
            assert_eq!(loosened(&loose, &strict, now), Vec::<String>::new(), "{what}");
        }
        let over = settings(|s| s.policy.freezes = vec![freeze("2025-12-19T00:00", "2026-01-04T00:00")]);
        assert_eq!(loosened(&over, &settings(|_| {}), now), Vec::<String>::new(), "it is over");
    }
}
