//! The planner in any situation at all, however little its parts agree with one another; and the token of what it plans.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, Strategy, any, prop};
use proptest::{option, prop_assert, prop_assert_eq, prop_assert_ne, proptest};

use super::{Drawn, deployment, drawn, history};
use crate::deployment::DeploymentStatus;
use crate::deployment_strategy::StrategyKind;
use crate::environment::ProcessType;
use crate::name::Fence;
use crate::plan::previous::{Asker, why_not};
use crate::plan::rollback::{RollbackPlan, Situation, Terms, Wanted, plan};
use crate::plan::token::PlanToken;
use crate::plan::{Place, Step};
use crate::ports::{BackendView, RouterView, SlotView};
use crate::release::Release;
use crate::slot::{Slot, SlotRecord, SlotState};
use crate::time::{Span, Timestamp};

const STATES: [SlotState; 5] =
    [SlotState::Live, SlotState::Warm, SlotState::Retiring, SlotState::Filling, SlotState::Staged];
const STRATEGIES: [StrategyKind; 4] =
    [StrategyKind::BlueGreen, StrategyKind::Recreate, StrategyKind::Rolling, StrategyKind::Canary];

type Pick = prop::sample::Index;

/// Facts as they come, chosen apart.
#[derive(Clone, Debug)]
struct Facts {
    releases: Vec<Drawn>,
    current: Option<(Pick, DeploymentStatus, bool)>,
    live: Option<(Pick, bool)>,
    slots: [Option<(Pick, SlotState)>; 2],
    /// By slot: release, weight, healthy instances.
    router: Option<[Option<(Pick, u8, u32)>; 2]>,
    requested: Option<Pick>,
    strategy: StrategyKind,
    routed: bool,
}

fn facts() -> impl Strategy<Value = Facts> {
    let pick = any::<Pick>;
    let slot = || option::of((pick(), prop::sample::select(&STATES[..])));
    let seen = || option::of((pick(), 0..=100u8, 0..3u32));
    let current = (pick(), prop::sample::select(&DeploymentStatus::ALL[..]), any::<bool>());
    let traffic =
        (option::weighted(0.8, (pick(), any::<bool>())), [slot(), slot()], option::of([seen(), seen()]));
    let asked = (option::of(pick()), prop::sample::select(&STRATEGIES[..]), any::<bool>());
    let all = (prop::collection::vec(drawn(), 1..8), option::weighted(0.9, current), traffic, asked);
    all.prop_map(|(releases, current, (live, slots, router), (requested, strategy, routed))| Facts {
        releases,
        current,
        live,
        slots,
        router,
        requested,
        strategy,
        routed,
    })
}

fn terms() -> impl Strategy<Value = (u8, bool, bool, bool)> {
    (0..3u8, any::<bool>(), any::<bool>(), any::<bool>())
}

fn slot_of(green: bool) -> Slot {
    if green { Slot::Green } else { Slot::Blue }
}

impl Facts {
    fn releases(&self) -> Vec<Release> {
        let mut releases = history(&self.releases);
        if self.routed {
            let web = ProcessType {
                command: vec!["shop".into()],
                instances: 2,
                listen: Some(([127, 0, 0, 1], 80).into()),
                confinement: Default::default(),
            };
            for release in &mut releases {
                release.contents.processes = BTreeMap::from([("web".to_owned(), web.clone())]);
            }
        }
        releases
    }

    fn situation(&self) -> Situation {
        let releases = self.releases();
        let one = |pick: &Pick| releases[pick.index(releases.len())].clone();
        let current = self.current.as_ref().map(|(pick, status, was_live)| {
            let release = one(pick);
            (deployment(1, &release, *status, *was_live), release)
        });
        let record = |(green, slot): (bool, &Option<(Pick, SlotState)>)| {
            let (pick, state) = slot.as_ref()?;
            let (release, since) = (one(pick), Timestamp::from_millis(0));
            let (slot, state, until) = (slot_of(green), *state, None);
            Some(SlotRecord { slot, release: release.id, version: release.version, state, since, until })
        };
        let seen = |(green, seen): (bool, &Option<(Pick, u8, u32)>)| {
            let (pick, weight, healthy) = seen.as_ref()?;
            let (release, addresses) = (one(pick), Vec::new());
            let listen = ([127, 0, 0, 1], 80).into();
            let backend =
                BackendView { process: "web".into(), listen, instances: 2, healthy: *healthy, addresses };
            let (slot, weight) = (slot_of(green), *weight);
            let (release, version, backends) = (release.id, release.version, vec![backend]);
            Some(SlotView { slot, release, version, weight, in_flight: 0, backends })
        };
        let both = [false, true];
        let router = self.router.as_ref().ok_or_else(|| "nobody answers".to_owned());
        Situation {
            environment: releases[0].environment.clone(),
            strategy: self.strategy,
            warm_for: Span::from_secs(900),
            current,
            live: self.live.as_ref().map(|(pick, green)| (one(pick), slot_of(*green))),
            slots: both.into_iter().zip(&self.slots).filter_map(record).collect(),
            older: releases.clone(),
            newer: releases.last().cloned(),
            requested: self.requested.as_ref().map(one),
            last_rollback: None,
            changed: Vec::new(),
            router: router.map(|seen_by| RouterView {
                fence: None,
                slots: both.into_iter().zip(seen_by).filter_map(seen).collect(),
            }),
        }
    }
}

fn asked(situation: &Situation, (wanted, force, automatic, distrust_warm): (u8, bool, bool, bool)) -> Terms {
    let requested = situation.requested.as_ref().map(|release| release.version.clone());
    let wanted = match (wanted, requested) {
        (0, _) => Wanted::Previous,
        (1, Some(version)) => Wanted::Version(version),
        _ => Wanted::Undo,
    };
    Terms { wanted, force, automatic, distrust_warm, skip_pre_rollback: false }
}

fn switched_to(step: &Step) -> Option<&Place> {
    if let Step::SwitchTraffic(place) | Step::ProveLive(place) = step { Some(place) } else { None }
}

fn stopped(step: &Step) -> Option<&Place> {
    if let Step::Stop(place, _) | Step::Drain(place) = step { Some(place) } else { None }
}

/// Whether a plan that was made may be carried out at all.
fn check(
    situation: &Situation,
    terms: &Terms,
    made: &RollbackPlan,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let (deployment, current) = situation.current.as_ref().unwrap();
    let serves = situation.live.as_ref().is_some_and(|(live, _)| live.id == made.target.id);
    let never_served = deployment.went_live_at.is_none();
    if terms.wanted == Wanted::Previous && !(never_served && serves) {
        prop_assert_eq!(why_not(&made.target, current, Asker::of(terms.automatic)), None);
    }
    if let Wanted::Version(version) = &terms.wanted {
        prop_assert_eq!(&made.target.version, version);
        prop_assert!(made.target.lineage.is_some(), "it was never live");
        prop_assert!(terms.force || made.target.hold.is_none(), "it is held");
    }
    let Some(plan) = &made.plan else {
        prop_assert!(serves, "nothing is to be done, but it does not serve");
        return Ok(());
    };
    prop_assert_eq!(plan.target.release, made.target.id);
    for place in plan.steps.iter().filter_map(switched_to) {
        prop_assert_eq!(place.release, made.target.id);
    }
    // What serves is stopped before another one does only where the strategy is to do so.
    let before = plan.steps.iter().take_while(|step| switched_to(step).is_none());
    let shared = situation.slots.iter().any(|slot| slot.state == SlotState::Staged);
    for place in before.filter_map(stopped) {
        let here = |(live, slot): &(Release, Slot)| (live.id, *slot) == (place.release, place.slot);
        let live = situation.live.as_ref().is_some_and(here);
        prop_assert!(!live || shared || situation.strategy == StrategyKind::Recreate, "{plan:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_situation_there_is_a_refusal_with_a_code_or_a_plan_to_something_good(facts in facts(), terms in terms()) {
        let situation = facts.situation();
        let terms = asked(&situation, terms);
        match plan(&situation, &terms) {
            Ok(made) => check(&situation, &terms, &made)?,
            Err(error) => prop_assert!(error.code().starts_with("ORC-01"), "{error:?}"),
        }
    }

    #[test]
    fn a_token_reads_back_and_stands_for_one_fence_and_no_other_digits(facts in facts(), terms in terms(), at in any::<Pick>(), digit in "[0-9a-f]") {
        let situation = facts.situation();
        let Ok(made) = plan(&situation, &asked(&situation, terms)) else { return Ok(()) };
        let token = PlanToken::of(&situation, Fence(7), &made);
        prop_assert_eq!(&PlanToken::of(&situation.clone(), Fence(7), &made.clone()), &token);
        prop_assert_ne!(&PlanToken::of(&situation, Fence(8), &made), &token);
        let text = token.to_string();
        prop_assert_eq!(text.parse::<PlanToken>().ok(), Some(token.clone()));
        let at = at.index(text.len());
        let changed = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
        prop_assert!(changed == text || changed.parse::<PlanToken>().ok() != Some(token), "{changed}");
    }
}
