use super::*;
use crate::policy::{Freeze, When, Zone};
use crate::time::Span;

fn name() -> EnvironmentName {
    "production".parse().unwrap()
}

fn asks<'a>(environment: &'a EnvironmentName, has_reason: bool) -> Asks<'a> {
    Asks { environment, has_reason, typed: "orchestrate …", now: "2026-12-20T12:00:00Z".parse().unwrap() }
}

fn frozen_policy() -> Policy {
    let (from, to) = ("2026-12-19T18:00".parse().unwrap(), "2027-01-04T08:00".parse().unwrap());
    let when = When::Period { from, to, time_zone: Zone::default() };
    Policy { freezes: vec![Freeze { name: "year end".into(), when }], ..Policy::default() }
}

fn codes(against: &[Error]) -> Vec<&'static str> {
    against.iter().map(Error::code).collect()
}

fn back(target: &Version) -> Back<'_> {
    Back { target, releases: Some(3), left_at: None, within_the_hour: Some(2) }
}

fn version() -> Version {
    "1.0".parse().unwrap()
}

#[test]
fn a_freeze_stops_what_is_new_and_lets_back_who_says_why() {
    let (policy, name, version) = (frozen_policy(), name(), version());
    let found = against_deploying(&policy, &asks(&name, true));
    assert_eq!(codes(&found), ["ORC-0170"]);
    assert_eq!(found[0].message(), "production is frozen until 2027-01-04 08:00 UTC: year end");
    assert_eq!(codes(&against_rolling_back(&policy, &asks(&name, false), &back(&version))), ["ORC-0171"]);
    assert!(against_rolling_back(&policy, &asks(&name, true), &back(&version)).is_empty());
}

#[test]
fn what_is_said_of_rollbacks_in_a_freeze_counts() {
    let (mut policy, name, version) = (frozen_policy(), name(), version());
    policy.rollback.in_freeze = InFreeze::Freely;
    assert!(against_rolling_back(&policy, &asks(&name, false), &back(&version)).is_empty());
    policy.rollback.in_freeze = InFreeze::Refused;
    assert_eq!(codes(&against_rolling_back(&policy, &asks(&name, true), &back(&version))), ["ORC-0170"]);
}

#[test]
fn a_reason_is_asked_for_once() {
    let (mut policy, name, version) = (frozen_policy(), name(), version());
    policy.require_reason = true;
    assert_eq!(codes(&against_rolling_back(&policy, &asks(&name, false), &back(&version))), ["ORC-0171"]);
    policy.freezes.clear();
    assert_eq!(codes(&against_rolling_back(&policy, &asks(&name, false), &back(&version))), ["ORC-0172"]);
    assert_eq!(codes(&against_deploying(&policy, &asks(&name, false))), ["ORC-0172"]);
}

#[test]
fn far_and_often_end_at_their_limits() {
    let (mut policy, name, version) = (Policy::default(), name(), version());
    let found = |policy: &Policy, back: Back<'_>| {
        codes(&against_rolling_back(policy, &asks(&name, true), &back)).join(" ")
    };
    policy.rollback.max_back = Some(3);
    assert_eq!(found(&policy, back(&version)), "");
    policy.rollback.max_back = Some(2);
    assert_eq!(found(&policy, back(&version)), "ORC-0173");
    policy.rollback.max_back = None;
    policy.rollback.max_age = Some(Span::from_secs(3600));
    let left = |at: &str| Back { left_at: Some(at.parse().unwrap()), ..back(&version) };
    assert_eq!(found(&policy, left("2026-12-20T11:00:00Z")), "");
    assert_eq!(found(&policy, left("2026-12-20T10:59:59Z")), "ORC-0173");
    policy.rollback.max_age = None;
    policy.rollback.manual_at_most_per_hour = Some(3);
    assert_eq!(found(&policy, back(&version)), "");
    policy.rollback.manual_at_most_per_hour = Some(2);
    assert_eq!(found(&policy, back(&version)), "ORC-0174");
}

#[test]
fn a_refusal_names_all_of_them_and_broken_glass_writes_them_down() {
    let (mut policy, name, version) = (frozen_policy(), name(), version());
    policy.rollback.max_back = Some(1);
    let against = || against_rolling_back(&policy, &asks(&name, false), &back(&version));
    let refused = verdict(against(), false).unwrap_err();
    assert_eq!(refused.code(), "ORC-0171");
    assert!(refused.message().contains("year end") && refused.message().contains("max_back: 1"));
    assert!(refused.hint_text().unwrap().contains("--reason"));
    assert_eq!(verdict(against(), true).unwrap().as_deref(), Some(refused.message()));
    assert_eq!(verdict(Vec::new(), false).unwrap(), None);
    assert_eq!(verdict(Vec::new(), true).unwrap().as_deref(), Some("nothing stood in the way"));
}
