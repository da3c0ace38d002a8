//! What an HAProxy is not told, or does not do, and what to type then.

use std::collections::BTreeMap;

use orchestrate_core::environment::ProcessType;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{PortError, PortErrorKind, Router as _};
use orchestrate_core::traffic::{Shift, Sticky, TrafficRules};
use orchestrate_providers::routers::haproxy::check;

use crate::rig::{Rig, SERVERS, placement, samples};

#[track_caller]
fn says(error: &PortError, kind: PortErrorKind, message: &str, detail: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(message), "{error}");
    assert!(error.detail.as_ref().unwrap().contains(detail), "{:?}", error.detail);
}

fn web(instances: u32) -> BTreeMap<String, ProcessType> {
    let process = ProcessType {
        command: vec!["./web".into()],
        instances,
        listen: Some("127.0.0.1:8080".parse().unwrap()),
        confinement: Default::default(),
    };
    BTreeMap::from([("web".to_owned(), process)])
}

async fn refused(rig: &Rig, instances: u32) -> (String, String, String) {
    let settings = rig.settings.lock().unwrap().clone();
    let error = check(&settings, &web(instances)).await.unwrap_err();
    (error.code().to_owned(), error.full_message(), error.hint_text().unwrap().to_owned())
}

#[tokio::test]
async fn one_that_is_not_there() {
    let rig = Rig::prepare();
    let samples = samples(&placement(1), 1).await;
    let error = rig.register(&placement(1), &samples, 1).await.unwrap_err();
    says(&error, PortErrorKind::Unreachable, "there is no such socket", "stats socket");
    assert_eq!(refused(&rig, 1).await.0, "ORC-0521");
    rig.settings.lock().unwrap().haproxy = rig.listen.to_string();
    let error = rig.register(&placement(1), &samples, 1).await.unwrap_err();
    says(&error, PortErrorKind::Unreachable, "nobody listens", "stats socket ipv4@127.0.0.1");
}

#[tokio::test]
async fn one_that_takes_no_orders() {
    let mut rig = Rig::prepare();
    rig.write_config(false, SERVERS);
    rig.edit_config("level admin", "level user");
    rig.run().await;
    let samples = samples(&placement(1), 1).await;
    let error = rig.register(&placement(1), &samples, 1).await.unwrap_err();
    says(&error, PortErrorKind::Failed, "permission denied", "level admin");
}

#[tokio::test]
async fn one_over_tcp_is_told_as_well() {
    let mut rig = Rig::prepare();
    rig.write_config(false, SERVERS);
    let address = rig.free_address();
    rig.edit_config("defaults\n", &format!("    stats socket ipv4@{address} level admin\ndefaults\n"));
    rig.settings.lock().unwrap().haproxy = address.to_string();
    rig.settings.lock().unwrap().state_file = None;
    rig.run().await;
    let samples = samples(&placement(1), 2).await;
    rig.register(&placement(1), &samples, 1).await.unwrap();
    rig.switch(&placement(1), 2, 1).await.unwrap();
    assert_eq!(rig.seen().await, [(1, 100, 2, 2)]);
}

#[tokio::test]
async fn a_backend_that_is_missing_is_shown_with_the_lines_to_add() {
    let mut rig = Rig::prepare();
    rig.write_config(false, SERVERS);
    rig.settings.lock().unwrap().backends.insert("web".into(), "store".into());
    rig.run().await;
    let samples = samples(&placement(1), 1).await;
    let error = rig.register(&placement(1), &samples, 1).await.unwrap_err();
    says(
        &error,
        PortErrorKind::Failed,
        "no backend `store`",
        "server-template blue 1-10 127.0.0.1:1 disabled",
    );
    let (code, message, hint) = refused(&rig, 1).await;
    assert_eq!(code, "ORC-0522");
    assert!(message.contains("no backend `store`") && hint.contains("backend store\n"), "{message}: {hint}");
}

#[tokio::test]
async fn servers_that_are_missing_are_shown_with_the_lines_to_have() {
    let mut rig = Rig::prepare();
    rig.write_config(
        false,
        "    server-template blue 1-2 127.0.0.1:1 disabled\n    server other 127.0.0.1:1 disabled\n",
    );
    rig.run().await;
    let samples = samples(&placement(1), 3).await;
    let error = rig.register(&placement(1), &samples, 1).await.unwrap_err();
    says(&error, PortErrorKind::Failed, "has 2 servers named blue1", "server-template blue 1-10");
    let (code, message, hint) = refused(&rig, 12).await;
    assert_eq!(code, "ORC-0522");
    assert!(
        message.contains("12 instances") && hint.contains("server-template blue 1-12"),
        "{message}: {hint}"
    );
    let (_, message, _) = refused(&rig, 1).await;
    assert!(message.contains("0 servers named green1"), "{message}");
    assert!(rig.seen().await.is_empty(), "nothing was changed");
}

#[tokio::test]
async fn servers_that_are_not_checked_are_refused_before_a_deployment() {
    let mut rig = Rig::prepare();
    rig.write_config(false, SERVERS);
    rig.edit_config("default-server check", "default-server no-check");
    rig.run().await;
    let (code, message, hint) = refused(&rig, 1).await;
    assert_eq!(code, "ORC-0522");
    assert!(
        message.contains("does not check shop/blue1") && hint.contains("default-server check"),
        "{message}"
    );
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_is_refused_before_a_deployment() {
    let rig = Rig::start().await;
    let settings = rig.settings.lock().unwrap().clone();
    assert!(check(&settings, &web(10)).await.unwrap().contains("shop"));
    rig.settings.lock().unwrap().state_file = Some("/nowhere/at/all".into());
    let (code, message, _) = refused(&rig, 1).await;
    assert_eq!(code, "ORC-0523");
    assert!(message.contains("/nowhere/at/all"), "{message}");
}

#[tokio::test]
async fn what_it_cannot_be_told_while_it_runs_is_refused() {
    let rig = Rig::start().await;
    let both = [samples(&placement(1), 1).await, samples(&placement(2), 1).await];
    rig.register(&placement(1), &both[0], 1).await.unwrap();
    rig.register(&placement(2), &both[1], 1).await.unwrap();
    rig.switch(&placement(1), 1, 1).await.unwrap();
    let shift = Shift {
        placement: placement(2),
        weight: 10,
        rest: placement(1),
        needs: BTreeMap::new(),
        rules: TrafficRules { sticky: Some(Sticky::Cookie("user".into())), force_header: None },
        fence: Fence(1),
    };
    let error = rig.router().shift(&shift).await.unwrap_err();
    says(&error, PortErrorKind::Failed, "which user goes where", "sticky");
    assert_eq!(rig.seen().await, [(1, 100, 1, 1), (2, 0, 1, 1)]);
}

#[tokio::test]
async fn a_backend_that_serves_another_environment_is_not_touched() {
    let rig = Rig::start().await;
    let samples = samples(&placement(1), 1).await;
    rig.register(&placement(1), &samples, 1).await.unwrap();
    rig.switch(&placement(1), 1, 1).await.unwrap();
    let mut other = placement(2);
    other.environment = orchestrate_core::name::EnvironmentName::new("staging").unwrap();
    let error = rig.register(&other, &samples, 1).await.unwrap_err();
    says(&error, PortErrorKind::Failed, "serves shop", "a backend of its own");
    assert_eq!(rig.seen().await, [(1, 100, 1, 1)]);
}
