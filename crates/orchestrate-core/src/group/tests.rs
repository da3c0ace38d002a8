use super::*;
use crate::name::{DeploymentId, RollbackId};
use crate::rollback_event::{RollbackType, Trigger};

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn members(of: &[(&str, &[&str])]) -> BTreeMap<EnvironmentName, DependsOn> {
    of.iter()
        .map(|(member, needs)| (name(member), needs.iter().map(|need| (name(need), None)).collect()))
        .collect()
}

#[test]
fn who_needs_others_goes_first() {
    let order = in_order(&members(&[("api", &["db"]), ("db", &[]), ("web", &["api", "db"]), ("mail", &[])]));
    assert_eq!(order.unwrap(), ["mail", "web", "api", "db"].map(name));
}

#[test]
fn a_circle_is_named() {
    let circle = in_order(&members(&[("api", &["web"]), ("web", &["api"]), ("mail", &[])]));
    assert_eq!(circle.unwrap_err(), ["api", "web"].map(name));
}

fn event(id: i64, environment: &str, status: RollbackStatus) -> RollbackEvent {
    RollbackEvent {
        id: RollbackId(id),
        deployment_id: DeploymentId(1),
        environment: name(environment),
        from_version: "2".parse().unwrap(),
        target_version: "1".parse().unwrap(),
        rollback_type: RollbackType::Specific,
        status,
        error_message: Some("no".into()),
        started_at: Timestamp::from_millis(0),
        completed_at: None,
        duration_ms: None,
        notification_sent: false,
        actor: "ada".into(),
        reason: None,
        trigger: Trigger::Manual,
        path: RollbackPath::Warm,
        phases: Vec::new(),
        from_release: None,
        target_release: None,
        left: None,
        evidence: Vec::new(),
        hooks: Vec::new(),
        undoes: None,
        crossed: None,
        break_glass: None,
    }
}

use RollbackStatus::{Completed, Failed, InProgress, NeedsAttention};

/// `web`, then `api`: how the rollback of each stands, and how it went forward again.
fn group(states: [(Option<RollbackStatus>, Option<RollbackStatus>); 2]) -> GroupRollback {
    let part = |(position, (back, forward)): (usize, (Option<RollbackStatus>, Option<RollbackStatus>))| {
        let environment = ["web", "api"][position];
        let id = i64::try_from(position).unwrap();
        GroupPart {
            environment: name(environment),
            from_version: "2".parse().unwrap(),
            target_version: "1".parse().unwrap(),
            rollback: back.map(|status| event(10 + id, environment, status)),
            undo: forward.map(|status| event(20 + id, environment, status)),
            position: id,
        }
    };
    GroupRollback {
        id: GroupRollbackId(1),
        group: "shop".into(),
        status: GroupStatus::InProgress,
        error_message: None,
        actor: "ada".into(),
        reason: None,
        started_at: Timestamp::from_millis(0),
        completed_at: None,
        duration_ms: None,
        parts: states.into_iter().enumerate().map(part).collect(),
        forced: true,
        holder: None,
        renewed_at: Timestamp::from_millis(0),
    }
}

fn next(states: [(Option<RollbackStatus>, Option<RollbackStatus>); 2]) -> String {
    match group(states).next() {
        Next::Back(part) => format!("back {}", part.environment),
        Next::Forward(part) => format!("forward {}", part.environment),
        Next::Wait(environment) => format!("wait {environment}"),
        Next::End(status, _) => format!("end {status}"),
    }
}

#[test]
fn while_nothing_failed_the_next_one_goes_back() {
    assert_eq!(next([(None, None), (None, None)]), "back web");
    assert_eq!(next([(Some(InProgress), None), (None, None)]), "wait web");
    assert_eq!(next([(Some(Completed), None), (None, None)]), "back api");
    assert_eq!(next([(Some(Completed), None), (Some(Completed), None)]), "end completed");
}

#[test]
fn once_one_failed_those_that_went_come_forward() {
    assert_eq!(next([(Some(Failed), None), (None, None)]), "end failed");
    assert_eq!(next([(Some(Completed), None), (Some(Failed), None)]), "forward web");
    assert_eq!(next([(Some(Completed), Some(InProgress)), (Some(Failed), None)]), "wait web");
    assert_eq!(next([(Some(Completed), Some(Completed)), (Some(Failed), None)]), "end failed");
    assert_eq!(next([(Some(Completed), Some(Failed)), (Some(Failed), None)]), "end needs_attention");
    assert_eq!(next([(Some(Completed), None), (Some(NeedsAttention), None)]), "end needs_attention");
}

#[test]
fn what_was_refused_before_it_began_counts_as_failed_and_what_did_not_move_stays() {
    let mut refused = group([(Some(Completed), None), (None, None)]);
    refused.error_message = Some("api: frozen".into());
    assert!(matches!(refused.next(), Next::Forward(part) if part.environment == name("web")));
    refused.parts[0].rollback.as_mut().unwrap().path = RollbackPath::None;
    assert_eq!(refused.next(), Next::End(GroupStatus::Failed, Some("api: frozen".into())));
}
