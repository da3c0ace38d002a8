//! Deployments that stop short of all traffic: how a release comes beside what is live, to its next share, to all of the
//! traffic, and back out.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::deploy::switch;
use super::hooks::after_promotion;
use super::{Afterwards, Halt, OperationKind, Place, Plan, Share, Step};
use crate::deployment_strategy::{Strategy, StrategyKind};
use crate::error::{Error, Result};
use crate::ports::Processes;
use crate::release::Release;
use crate::rollout::{Course, Rollout};
use crate::time::Span;

/// The course of a deployment with this strategy; none if it goes to all of the traffic at once.
pub(super) fn course(strategy: &Strategy, no_switch: bool) -> Result<Option<Course>> {
    let steps = match strategy.kind {
        StrategyKind::Canary => strategy.shares(),
        StrategyKind::BlueGreen => vec![100],
        kind @ (StrategyKind::Recreate | StrategyKind::Rolling) if no_switch => {
            return Err(Error::usage(
                "ORC-0233",
                format!("`{kind}` cannot stage a release beside what is live"),
            )
            .hint("use --no-switch with blue_green or canary, for this once by --strategy blue_green"));
        }
        StrategyKind::Recreate | StrategyKind::Rolling => return Ok(None),
    };
    // Nothing is waited for between no steps.
    let wait = if steps.len() > 1 { strategy.pause() } else { Span::default() };
    let warm_for = strategy.warm_for;
    let course = Course { steps, wait, warm_for, rules: strategy.rules(), staged: no_switch };
    Ok(Some(course).filter(|course| course.first() < 100))
}

/// Refuses a share of the traffic for a release that is asked at other addresses than what is live.
pub(super) fn must_share(release: &Release, live: &Release) -> Result<()> {
    let addresses = |release: &Release| -> BTreeSet<(String, SocketAddr)> {
        release.contents.routed().map(|(name, _, listen)| (name.to_owned(), listen)).collect()
    };
    if addresses(release) == addresses(live) {
        return Ok(());
    }
    let (new, old) = (&release.version, &live.version);
    Err(Error::refused(
        "ORC-0153",
        format!("{new} does not listen where {old} does, so the two cannot share the traffic"),
    )
    .hint("switch all of it at once: deploy with --strategy blue_green"))
}

/// The release comes beside what is live, and gets its first share.
pub(super) fn begin(target: &Place, live: &Place, course: Course) -> (Vec<Step>, Halt) {
    let halt = Halt { weight: course.first(), course };
    let mut steps = vec![
        Step::Fetch(target.clone()),
        Step::Start(target.clone(), Processes::Routed),
        Step::AwaitHealthy(target.clone(), Processes::Routed),
    ];
    steps.extend(share(target, live, 0, &halt));
    (steps, halt)
}

fn share(target: &Place, live: &Place, was: u8, halt: &Halt) -> [Step; 2] {
    let (weight, rules) = (halt.weight, halt.course.rules.clone());
    let share = Share { weight, was, rest: live.clone(), rules, needs: None };
    [Step::ShiftTraffic(target.clone(), share), Step::ProveShare(target.clone())]
}

/// The release gets its next share, or all of the traffic.
pub fn promote(rollout: &Rollout, release: &Release, live: Place, all: bool) -> Plan {
    let target = rollout.place();
    let weight = if all { 100 } else { rollout.next_weight() };
    let (steps, halt) = if weight < 100 {
        let halt = Halt { weight, course: rollout.course.clone() };
        (share(&target, &live, rollout.weight, &halt).to_vec(), Some(halt))
    } else {
        (take_over(&target, release), None)
    };
    let afterwards = Afterwards::KeepWarm(rollout.course.warm_for);
    let plan = Plan { kind: OperationKind::Promote, target, from: Some(live), steps, afterwards, halt };
    after_promotion(plan, release)
}

/// All or nothing: workers that do not come up keep the traffic where it is.
fn take_over(target: &Place, release: &Release) -> Vec<Step> {
    let mut steps = Vec::new();
    if release.contents.has_unrouted() {
        steps.push(Step::Start(target.clone(), Processes::Unrouted));
        steps.push(Step::AwaitHealthy(target.clone(), Processes::Unrouted));
    }
    steps.extend(switch(target, release, true));
    steps
}

/// All of the traffic goes back to what is live, in one step from wherever it is; `sick` mends what is live first.
pub(super) fn leave(staged: Place, live: Place, release: &Release, sick: bool) -> Plan {
    let mut steps = Vec::new();
    if sick {
        steps.push(Step::Fetch(live.clone()));
        steps.push(Step::Start(live.clone(), Processes::All));
        steps.push(Step::AwaitHealthy(live.clone(), Processes::All));
    }
    steps.extend(switch(&live, release, true));
    let (kind, afterwards) = (OperationKind::Rollback, Afterwards::Retire);
    Plan { kind, target: live, from: Some(staged), steps, afterwards, halt: None }
}
