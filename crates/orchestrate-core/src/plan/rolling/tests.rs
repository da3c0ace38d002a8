use std::collections::BTreeMap;

use proptest::strategy::{Strategy as Draw, Union};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::deployment_strategy::StrategyKind;
use crate::environment::{EnvironmentSettings, ProcessType};
use crate::name::{EnvironmentName, ReleaseId};
use crate::release::{Artifact, Contents, Digest};
use crate::slot::Slot;
use crate::stage::v;
use crate::time::Timestamp;

fn of(id: i64, types: &[(&str, u32, bool)]) -> Release {
    let process = |instances: u32, routed: bool| ProcessType {
        command: vec!["./x".into()],
        instances,
        listen: routed.then_some(([127, 0, 0, 1], 8080).into()),
        confinement: Default::default(),
    };
    let contents = Contents {
        artifact: Artifact {
            digest: Digest::of(b"x"),
            origin: String::new(),
            size: 0,
            commit: None,
            committed_at: None,
            signed_by: None,
            image: None,
        },
        processes: types.iter().map(|(name, count, on)| ((*name).to_owned(), process(*count, *on))).collect(),
        settings: EnvironmentSettings::default().sealed(),
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        data: Default::default(),
        hooks: BTreeMap::new(),
    };
    Release {
        id: ReleaseId(id),
        environment: EnvironmentName::new("production").unwrap(),
        version: v(&format!("{id}.0")),
        content_digest: contents.digest(),
        contents,
        sealed_at: Timestamp::from_millis(id),
        lineage: None,
        proven_at: None,
        hold: None,
        stands: true,
        pruned_at: None,
    }
}

fn steps(before: &Release, after: &Release, strategy: &Strategy) -> Vec<Step> {
    let (live, target) = (Place::of(before, Slot::Blue), Place::of(after, Slot::Green));
    batches(&target, &live, (after, before), strategy)
}

#[test]
fn one_at_a_time_never_has_fewer_than_asked_nor_more_than_one_too_many() {
    let (before, after) = (of(1, &[("web", 3, true)]), of(2, &[("web", 3, true)]));
    let told: Vec<String> =
        steps(&before, &after, &Strategy::default()).iter().map(ToString::to_string).collect();
    let expected = [
        "check the sealed artifact of 2.0",
        "have 1 web of 2.0 ready in green",
        "give 33 % of the traffic to 2.0 in green",
        "see 2.0 answer through the live address",
        "leave 2 web of 1.0 in blue",
        "have 2 web of 2.0 ready in green",
        "give 66 % of the traffic to 2.0 in green",
        "see 2.0 answer through the live address",
        "leave 1 web of 1.0 in blue",
        "have 3 web of 2.0 ready in green",
        "switch all traffic to 2.0 in green",
        "see the live address answered by 2.0",
    ];
    assert_eq!(told, expected);
}

/// Looks at what runs after each step, old and new, and at the new one's share. Returns the end of it.
fn walk(
    (before, after): (&Release, &Release),
    steps: &[Step],
    mut look: impl FnMut(&Counts, &Counts, u8),
) -> (Counts, u8) {
    let count = |release: &Release, all: bool| -> Counts {
        let types = release.contents.processes.iter();
        types.map(|(name, process)| (name.clone(), if all { process.instances } else { 0 })).collect()
    };
    let (mut old, mut new, mut weight) = (count(before, true), count(after, false), 0);
    for step in steps {
        match step {
            Step::Grow(_, to, was) => {
                assert_eq!(*was, new);
                new = to.clone();
            }
            Step::Shrink(_, to, was) => {
                assert_eq!(*was, old);
                old = to.clone();
            }
            Step::ShiftTraffic(_, share) => {
                assert_eq!(share.was, weight);
                weight = share.weight;
            }
            Step::SwitchTraffic(_) => weight = 100,
            _ => {}
        }
        look(&old, &new, weight);
    }
    (new, weight)
}

fn amount() -> impl Draw<Value = Amount> {
    Union::new([(0..4_u32).prop_map(Amount::Count).boxed(), (0..=100_u8).prop_map(Amount::Percent).boxed()])
}

proptest! {
    #[test]
    fn capacity_stays_within_what_was_asked_for(
        web in 1..9_u32, worker in 1..5_u32, was in 1..9_u32,
        batch in amount(), unavailable in amount(), surge in amount(),
    ) {
        let before = of(1, &[("web", was, true), ("worker", worker, false)]);
        let after = of(2, &[("web", web, true), ("worker", worker, false)]);
        let strategy = Strategy {
            kind: StrategyKind::Rolling,
            batch: Some(batch),
            max_unavailable: Some(unavailable),
            max_surge: Some(surge),
            ..Strategy::default()
        };
        let steps = steps(&before, &after, &strategy);
        prop_assert!(steps.len() < 200);
        let within = |old: u32, new: u32, before: u32, after: u32| {
            let least = before.min(after).saturating_sub(unavailable.of(after, false));
            // Where nothing may be missing and nothing too many, one too many is needed to move at all.
            let most = before.max(after) + surge.of(after, true).max(1);
            (least..=most).contains(&(old + new))
        };
        let (new, weight) = walk((&before, &after), &steps, |old, new, weight| {
            assert!(within(old["web"], new["web"], was, web), "web {old:?} {new:?}");
            assert!(within(old["worker"], new["worker"], worker, worker), "worker {old:?} {new:?}");
            assert!(weight == 100 || old["web"] > 0, "{weight} % and no old instance");
            assert!(weight == 0 || new["web"] > 0, "{weight} % and no new instance");
            assert!(u32::from(weight) * web <= new["web"] * 100, "{weight} % on {new:?}");
        });
        prop_assert_eq!(weight, 100);
        prop_assert_eq!((new["web"], new["worker"]), (web, worker));
    }
}
