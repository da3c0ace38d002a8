//! Real operations on a real database, and what their traces say.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::database::{Holder, TraceState};
use crate::deployment_executor::DeploymentExecutor;
use crate::hooks::Hook;
use crate::name::{EnvironmentName, OperationId};
use crate::ports::{Host, Ports};
use crate::stage::{Stage, hooked, settings, v};
use crate::time::Span;

/// Whoever has a span of its own.
struct Caller(Arc<dyn Host>, Traceparent);

impl Host for Caller {
    fn holder(&self, actor: &str) -> Holder {
        self.0.holder(actor)
    }

    fn runs(&self, holder: &Holder) -> Option<bool> {
        self.0.runs(holder)
    }

    fn traceparent(&self) -> Option<Traceparent> {
        Some(self.1)
    }
}

fn called_by(stage: &Stage, parent: &str) -> Ports {
    let ports = stage.world.ports();
    Ports { host: Arc::new(Caller(Arc::clone(&ports.host), Traceparent::parse(parent).unwrap())), ..ports }
}

async fn untold(stage: &Stage) -> Vec<OperationRecord> {
    stage.db.untold_operations(None, Timestamp::from_millis(0), 100).await.unwrap()
}

/// The trace of the newest operation that has ended.
async fn newest(stage: &Stage) -> Option<Trace> {
    let operation = untold(stage).await.pop().unwrap();
    Trace::of(&stage.db.traced(operation).await.unwrap())
}

fn names(trace: &Trace) -> Vec<&str> {
    trace.spans.iter().map(|span| span.name.as_str()).collect()
}

fn attribute<'a>(span: &'a TraceSpan, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find_map(|(known, value)| (*known == name).then_some(value))
}

/// What is true of every trace, whatever happened.
fn is_whole(trace: &Trace) {
    let root = &trace.spans[0];
    let ids: BTreeSet<_> = trace.spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), trace.spans.len(), "two spans of one number");
    for span in &trace.spans[1..] {
        assert_eq!(span.parent, Some(root.id), "{span:?}");
        assert!(root.start <= span.start && span.start <= span.end && span.end <= root.end, "{span:?}");
    }
}

#[tokio::test]
async fn a_rollback_is_one_span_a_step_and_follows_from_its_deployment() {
    let stage = Stage::new().await;
    stage.deploy_all(&["1.0", "1.1"]).await;
    let deployed = newest(&stage).await.unwrap();
    stage.rollback().rollback(&stage.forced()).await.unwrap();
    let trace = newest(&stage).await.unwrap();
    is_whole(&trace);
    assert_eq!(names(&trace), ["rollback production", "switch_traffic", "prove_live"]);
    assert_eq!(newest(&stage).await.unwrap(), trace, "told again, it is the same");
    let root = &trace.spans[0];
    assert_eq!((&root.error, root.parent), (&None, None));
    assert_eq!(root.links, [(deployed.id, deployed.spans[0].id)]);
    assert_ne!(trace.id, deployed.id);
    let told = |name: &str| attribute(root, name).cloned();
    assert_eq!(told("deployment.environment.name"), Some(text("production")));
    assert_eq!(told("deployment.status"), Some(text("succeeded")));
    assert_eq!(told("orchestrate.service"), Some(text("shop")));
    assert_eq!(told("orchestrate.version"), Some(text("1.0")));
    assert_eq!(told("orchestrate.from_version"), Some(text("1.1")));
    assert_eq!(told("orchestrate.rollback.path"), Some(text("warm")));
    assert_eq!(told("orchestrate.actor"), Some(text("api")));
    let step = &trace.spans[1];
    assert_eq!(attribute(step, "orchestrate.step.text"), Some(&text("switch all traffic to 1.0 in blue")));
}

#[tokio::test]
async fn what_failed_is_an_error_and_its_repair_is_told_too() {
    let stage = Stage::new().await;
    stage.deploy("1.0").await;
    stage.world.never_healthy(&v("1.1"));
    stage.deploy("1.1").await;
    let trace = newest(&stage).await.unwrap();
    is_whole(&trace);
    let of = |name: &str| trace.spans.iter().find(|span| span.name == name).unwrap();
    let failed = of("await_healthy");
    assert!(failed.error.is_some());
    let root = &trace.spans[0];
    assert_eq!(root.error, failed.error);
    assert_eq!(attribute(root, "error.type"), Some(&text("await_healthy")));
    assert_eq!(attribute(root, "deployment.status"), Some(&text("failed")));
    assert_eq!(attribute(root, "orchestrate.operation.outcome"), Some(&text("undone")));
    assert_eq!(of("undo start").error, None);
    assert_eq!(attribute(of("undo start"), "orchestrate.step.undo"), Some(&Value::Bool(true)));
}

#[tokio::test]
async fn what_a_command_of_the_users_prints_is_not_told() {
    let stage = Stage::with(hooked(), &[]).await;
    stage.world.hook_fails(Hook::PreDeploy, "password=hunter2");
    stage.deploy("1.0").await;
    let trace = newest(&stage).await.unwrap();
    assert!(trace.spans.iter().any(|span| span.name == "pre_deploy" && span.error.is_some()), "{trace:?}");
    assert!(!format!("{trace:?}").contains("hunter2"), "{trace:?}");
}

#[tokio::test]
async fn who_asks_is_the_parent_and_who_is_not_traced_has_no_trace() {
    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let stage = Stage::new().await;
    let ports = called_by(&stage, SAMPLED);
    DeploymentExecutor::new(stage.db.clone(), ports).deploy(&stage.to_deploy("1.0")).await.unwrap();
    let trace = newest(&stage).await.unwrap();
    is_whole(&trace);
    let parent = Traceparent::parse(SAMPLED).unwrap();
    assert_eq!((trace.id, trace.spans[0].parent), (parent.trace, Some(parent.span)));

    let ports = called_by(&stage, &SAMPLED.replace("-01", "-00"));
    stage.world.clock.advance(Span::from_secs(60));
    DeploymentExecutor::new(stage.db.clone(), ports).deploy(&stage.to_deploy("1.1")).await.unwrap();
    assert_eq!(newest(&stage).await, None);
}

#[tokio::test]
async fn what_was_told_or_ended_long_ago_or_is_others_is_not_told() {
    let stage = Stage::with(settings(), &[]).await;
    stage.deploy_all(&["1.0", "1.1", "1.2"]).await;
    let ended = untold(&stage).await;
    let ids: Vec<_> = ended.iter().map(|operation| operation.id).collect();
    assert_eq!(ids, [OperationId(1), OperationId(2), OperationId(3)]);
    stage.db.trace_told(ids[0], TraceState::Sent, None).await.unwrap();
    stage.db.trace_told(ids[2], TraceState::Refused, Some("status 400")).await.unwrap();
    assert_eq!(untold(&stage).await, ended[1..2]);
    let count = stage.db.count_traces(None, Timestamp::from_millis(0)).await.unwrap();
    assert_eq!((count.waiting, count.refused), (1, 1));

    let after = ended[1].ended_at.unwrap();
    assert_eq!(stage.db.untold_operations(None, after, 100).await.unwrap(), []);
    let other = [EnvironmentName::new("staging").unwrap()];
    let mine = [stage.environment.clone()];
    let of = async |names: &[EnvironmentName]| {
        stage.db.untold_operations(Some(names), Timestamp::from_millis(0), 100).await.unwrap().len()
    };
    assert_eq!((of(&other).await, of(&mine).await, of(&[]).await), (0, 1, 0));
}
