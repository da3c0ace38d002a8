//! Properties of the plan of a rollback, over random histories.

mod any;
mod histories;
mod walks;

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::previous::{Asker, why_not};
use super::rollback::{Situation, Terms, Wanted, plan};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::deployment_strategy::StrategyKind;
use crate::environment::{EnvironmentSettings, ProviderKind};
use crate::name::{DeploymentId, EnvironmentName, ReleaseId};
use crate::ports::RouterView;
use crate::release::{Artifact, Contents, Digest, Hold, Release};
use crate::slot::Slot;
use crate::stage::v;
use crate::time::{Span, Timestamp};

/// What a release of a history is like.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    was_live: bool,
    proven: bool,
    held: bool,
    content: u8,
}

fn drawn() -> impl proptest::strategy::Strategy<Value = Drawn> {
    (any::<bool>(), prop::bool::weighted(0.7), prop::bool::weighted(0.2), 0..6u8)
        .prop_map(|(was_live, proven, held, content)| Drawn { was_live, proven, held, content })
}

fn release(number: i64, lineage: Option<i64>, drawn: Drawn) -> Release {
    let contents = Contents {
        artifact: Artifact {
            digest: Digest::of(&[drawn.content]),
            origin: String::new(),
            size: 0,
            commit: None,
            committed_at: None,
            signed_by: None,
            image: None,
        },
        processes: BTreeMap::new(),
        settings: EnvironmentSettings::default().sealed(),
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        data: Default::default(),
        hooks: Default::default(),
    };
    let at = Timestamp::from_millis(number);
    Release {
        id: ReleaseId(number),
        environment: EnvironmentName::new("production").unwrap(),
        version: v(&format!("1.{number}")),
        content_digest: contents.digest(),
        contents,
        sealed_at: at,
        lineage,
        proven_at: (lineage.is_some() && drawn.proven).then_some(at),
        hold: drawn.held.then(|| Hold { reason: "bad".into(), since: at, actor: "ada".into() }),
        stands: true,
        pruned_at: None,
    }
}

fn history(all: &[Drawn]) -> Vec<Release> {
    let mut lineage = 0;
    let mut releases = Vec::new();
    for (number, drawn) in (1..).zip(all) {
        let place = drawn.was_live.then(|| {
            lineage += 1;
            lineage
        });
        releases.push(release(number, place, *drawn));
    }
    releases
}

fn deployment(id: i64, of: &Release, status: DeploymentStatus, was_live: bool) -> Deployment {
    Deployment {
        id: DeploymentId(id),
        environment: of.environment.clone(),
        release: of.id,
        version: of.version.clone(),
        provider: ProviderKind::Process,
        strategy: StrategyKind::BlueGreen,
        status,
        error_message: None,
        actor: "ada".into(),
        reason: None,
        started_at: of.sealed_at,
        completed_at: None,
        went_live_at: was_live.then_some(of.sealed_at),
        bake_until: None,
        evidence: Vec::new(),
        automatic_hold: None,
        hooks: Vec::new(),
        break_glass: None,
    }
}

fn situation(current: &Release, all: &[Release], status: DeploymentStatus) -> Situation {
    let deployment = deployment(current.id.0, current, status, current.lineage.is_some());
    let live = all.iter().filter(|release| release.lineage.is_some()).max_by_key(|release| release.lineage);
    Situation {
        environment: current.environment.clone(),
        strategy: StrategyKind::BlueGreen,
        warm_for: Span::from_secs(900),
        current: Some((deployment, current.clone())),
        live: live.map(|release| (release.clone(), Slot::Blue)),
        slots: Vec::new(),
        older: all.to_vec(),
        newer: None,
        requested: None,
        last_rollback: None,
        router: Ok(RouterView::default()),
        changed: Vec::new(),
    }
}

fn forced() -> Terms {
    Terms {
        wanted: Wanted::Previous,
        force: true,
        automatic: false,
        distrust_warm: false,
        skip_pre_rollback: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_previous_release_is_proven_older_not_held_and_another_content(
        all in prop::collection::vec(drawn(), 1..24),
        pick in any::<prop::sample::Index>(),
    ) {
        let releases = history(&all);
        let current = &releases[pick.index(releases.len())];
        let below = current.lineage.unwrap_or(i64::MAX);
        let good = |release: &&Release| {
            release.lineage.is_some_and(|lineage| lineage < below)
                && release.proven_at.is_some()
                && release.hold.is_none()
                && (current.lineage.is_none() || release.content_digest != current.content_digest)
        };
        let newest = |good: &dyn Fn(&&Release) -> bool| {
            releases.iter().filter(|release| good(release)).max_by_key(|release| release.lineage)
        };
        // What never got traffic left what serves in its place, good or not.
        let wanted = match current.lineage {
            Some(_) => newest(&good),
            None => newest(&|release| release.lineage.is_some()),
        };
        match plan(&situation(current, &releases, DeploymentStatus::Completed), &forced()) {
            Ok(plan) => {
                prop_assert_eq!(Some(plan.target.id), wanted.map(|release| release.id));
                prop_assert!(current.lineage.is_none() || why_not(&plan.target, current, Asker::Person).is_none());
            }
            Err(error) => {
                prop_assert_eq!(error.code(), "ORC-0102");
                prop_assert!(wanted.is_none());
            }
        }
    }

    #[test]
    fn rolling_back_again_and_again_walks_strictly_back_and_ends(
        all in prop::collection::vec(drawn(), 1..24),
    ) {
        let mut releases = history(&all);
        let mut current = releases.last().unwrap().clone();
        let mut last = i64::MAX;
        for _ in 0..=releases.len() {
            match plan(&situation(&current, &releases, DeploymentStatus::Completed), &forced()) {
                Ok(plan) => {
                    let lineage = plan.target.lineage.unwrap();
                    prop_assert!(lineage < last);
                    prop_assert!(lineage < current.lineage.unwrap_or(i64::MAX));
                    last = lineage;
                    let left = releases.iter_mut().find(|release| release.id == current.id).unwrap();
                    left.hold = Some(Hold {
                        reason: "rolled back".into(),
                        since: left.sealed_at,
                        actor: "ada".into(),
                    });
                    current = plan.target;
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), "ORC-0102");
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "it never ended");
    }

    #[test]
    fn only_what_is_completed_asks_for_force(
        all in prop::collection::vec(drawn(), 2..12),
        status in prop::sample::select(&DeploymentStatus::ALL[..]),
        automatic in any::<bool>(),
    ) {
        let releases = history(&all);
        let situation = situation(releases.last().unwrap(), &releases, status);
        let terms = Terms { force: false, automatic, ..forced() };
        let (free, forced) = (plan(&situation, &terms), plan(&situation, &forced()));
        match (free, forced) {
            (Ok(_), Ok(_)) => prop_assert!(status != DeploymentStatus::Completed || automatic),
            (Err(error), Ok(_)) => {
                prop_assert_eq!(error.code(), "ORC-0104");
                prop_assert!(status == DeploymentStatus::Completed && !automatic);
            }
            (Err(free), Err(forced)) => prop_assert_eq!(free.code(), forced.code()),
            (Ok(_), Err(error)) => prop_assert!(false, "force refused what went without: {error}"),
        }
    }
}
