//! What a cluster's admission lets in, and what people are told where it does not.

use std::collections::BTreeMap;
use std::time::Instant;

use hyper::Method;
use orchestrate_core::environment::{Seccomp, Security};
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{HookRequest, OneOff, PortError, PortErrorKind, Provider as _};
use orchestrate_core::time::Span;
use orchestrate_providers::{Hosted as _, RunSpec};
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};
use serde_json::{Value, json};

use crate::contract::Stage;
use crate::fake::{Answer, Fake, Fault};
use crate::rolling::placement;

/// What is told at once is told long before this.
const LONG: Span = Span::from_secs(600);
const AT_ONCE: Span = Span::from_secs(15);

async fn restricted() -> Stage<Fake> {
    let stage: Stage<Fake> = Stage::new().await;
    stage.ground.world().restricted = true;
    stage
}

fn spec(stage: &Stage<Fake>, security: Option<Security>) -> RunSpec {
    let mut spec = stage.scene.spec(&placement(&stage.scene, 1), Sample::web(1).with_work(1));
    spec.engine.kubernetes.as_mut().unwrap().security = security;
    spec
}

async fn not_ready(stage: &Stage<Fake>, security: Option<Security>) -> PortError {
    let first = placement(&stage.scene, 1);
    stage.scene.seal(&first, spec(stage, security));
    stage.scene.start(&first, 1).await.unwrap();
    let began = Instant::now();
    let error = stage.scene.ready(&first, LONG).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE.duration(), "it was waited out: {error}");
    error
}

#[tokio::test]
async fn a_namespace_that_enforces_restricted_takes_pods_with_security() {
    let stage = restricted().await;
    let first = placement(&stage.scene, 1);
    stage.scene.run(&first, spec(&stage, Some(Security::default()))).await;
    for pod in stage.ground.world().all("pods") {
        let wanted = json!({
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "seccompProfile": { "type": "RuntimeDefault" },
            "capabilities": { "drop": ["ALL"] },
        });
        assert_eq!(pod["spec"]["containers"][0]["securityContext"], wanted);
    }
    // Hooks and smoke tests are pods as well.
    let command = OneOff {
        placement: first,
        name: "smoke".into(),
        command: vec!["true".into()],
        variables: BTreeMap::new(),
        timeout: AT_ONCE,
    };
    assert!(stage.scene.provider.run_once(&command).await.unwrap().success);
}

#[tokio::test]
async fn every_part_of_security_can_be_said() {
    let stage: Stage<Fake> = Stage::new().await;
    let security = Security {
        run_as_non_root: false,
        run_as_user: Some(0),
        run_as_group: Some(7),
        seccomp_profile: Seccomp::Unconfined,
        allow_privilege_escalation: true,
        drop_capabilities: Vec::new(),
        add_capabilities: vec!["NET_ADMIN".into()],
        read_only_root_filesystem: true,
    };
    stage.scene.run(&placement(&stage.scene, 1), spec(&stage, Some(security))).await;
    let pods: Vec<Value> = stage.ground.world().all("pods");
    let wanted = json!({
        "runAsNonRoot": false,
        "runAsUser": 0,
        "runAsGroup": 7,
        "allowPrivilegeEscalation": true,
        "seccompProfile": { "type": "Unconfined" },
        "capabilities": { "add": ["NET_ADMIN"] },
        "readOnlyRootFilesystem": true,
    });
    assert_eq!(pods[0]["spec"]["containers"][0]["securityContext"], wanted);
}

/// The Deployment is taken, and its ReplicaSet gets no pod: that is a condition of it, not an answer.
#[tokio::test]
async fn pods_that_are_not_let_in_are_told_at_once() {
    let stage = restricted().await;
    let error = not_ready(&stage, None).await;
    assert_eq!(error.kind, PortErrorKind::Failed);
    let wanted = "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
    assert!(error.message.contains(wanted), "{error}");
    assert!(error.detail.unwrap().contains("kubernetes: { security: {} }"));
    let quota: Stage<Fake> = Stage::new().await;
    quota.ground.world().quota = Some(1);
    let error = not_ready(&quota, None).await;
    assert!(error.message.contains("exceeded quota"), "{error}");
    assert!(error.detail.unwrap().contains("kubectl describe resourcequota"));
}

/// What the controller says of the template before is no verdict on the one that was just applied.
#[tokio::test]
async fn what_was_refused_before_is_not_held_against_what_is_mended() {
    let stage = restricted().await;
    let first = placement(&stage.scene, 1);
    for security in [None, Some(Security::default())] {
        let mut spec = spec(&stage, security.clone());
        spec.engine.rolls = true;
        stage.scene.seal(&first, spec);
        stage.scene.start(&first, 1).await.unwrap();
        let ready = stage.scene.ready(&first, AT_ONCE).await;
        assert_eq!(ready.is_ok(), security.is_some(), "{ready:?}");
    }
}

#[tokio::test]
async fn an_image_that_is_root_is_told_with_what_to_write() {
    let stage = restricted().await;
    stage.ground.world().run_as_root = true;
    let error = not_ready(&stage, Some(Security::default())).await;
    assert!(error.message.contains("image will run as root"), "{error}");
    assert!(error.detail.unwrap().contains("run_as_user: 1001"));
    let user = Security { run_as_user: Some(1001), ..Security::default() };
    let second = placement(&stage.scene, 2);
    stage.scene.run(&second, spec(&stage, Some(user))).await;
}

/// A Job without a pod has no condition, and would be waited for until its own time is over.
#[tokio::test]
async fn a_hook_that_is_not_let_in_is_told_at_once() {
    let stage = restricted().await;
    let first = placement(&stage.scene, 1);
    stage.scene.seal(&first, spec(&stage, None));
    let request = HookRequest {
        placement: first.clone(),
        of: "d7".into(),
        hook: orchestrate_core::hooks::Hook::PreDeploy,
        command: vec!["true".into()],
        timeout: LONG,
        fence: Fence(1),
    };
    let began = Instant::now();
    let error = stage.scene.provider.hook(&request).await.unwrap_err();
    assert!(error.message.contains("violates PodSecurity"), "{error}");
    assert!(began.elapsed() < AT_ONCE.duration());
    assert!(stage.ground.world().all("jobs").is_empty(), "it does not run later, when it is let in");
    // Who may not read events has the Job's own time to wait.
    let message = "events is forbidden: User \"ci\" cannot list resource \"events\"";
    let answer = Answer::status(403, "Forbidden", message);
    stage.ground.inject(Fault { method: Method::GET, path: "/events?", times: usize::MAX, answer });
    let late = OneOff {
        placement: first,
        name: "smoke".into(),
        command: vec!["true".into()],
        variables: BTreeMap::new(),
        timeout: Span::from_secs(1),
    };
    let error = stage.scene.provider.run_once(&late).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TimedOut, "{error}");
}

/// Admission may refuse the object itself, and says why in the same status as missing rights.
#[tokio::test]
async fn an_admission_that_refuses_is_not_taken_for_missing_rights() {
    for (message, advice) in [
        ("admission webhook \"policy.example\" denied the request: no latest", "a policy of the cluster"),
        (
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": seccompProfile",
            "security: {}",
        ),
        ("pods \"x\" is forbidden: exceeded quota: compute", "resourcequota"),
    ] {
        let stage: Stage<Fake> = Stage::new().await;
        let answer = Answer::status(403, "Forbidden", message);
        stage.ground.inject(Fault { method: Method::PATCH, path: "/deployments/", times: 1, answer });
        let first = placement(&stage.scene, 1);
        stage.scene.seal(&first, spec(&stage, None));
        let error = stage.scene.start(&first, 1).await.unwrap_err();
        assert!(error.message.contains(message), "{error}");
        let detail = error.detail.unwrap();
        assert!(detail.contains(advice) && !detail.contains("rbac"), "{detail}");
    }
}
