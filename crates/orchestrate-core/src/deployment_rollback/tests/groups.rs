//! Several environments go back together: in order, all or none, whenever the program dies.

use crate::deployment_executor::{DeployRequest, DeploymentExecutor};
use crate::deployment_rollback::{Asking, Carried, DeploymentRollback, GroupRequest, RollbackRequest};
use crate::environment::EnvironmentSettings;
use crate::error::{Error, Result};
use crate::execute::Limits;
use crate::fakes::{Fault, Gate, Kind, When};
use crate::group::{GroupRollback, GroupStatus};
use crate::name::EnvironmentName;
use crate::ports::{PortErrorKind, Ports};
use crate::stage::{Stage, settings, v};
use crate::time::Span;

const GROUP: &str = "shop";

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

/// `web` needs `api`; which version of it is sealed with each of its own.
fn of_group(environment: &str, needs: Option<&str>) -> EnvironmentSettings {
    let mut settings = settings();
    settings.group = Some(GROUP.into());
    if environment == "web" {
        settings.depends_on.insert(name("api"), needs.map(v));
    }
    settings
}

async fn deploy(stage: &Stage, environment: &str, version: &str, needs: Option<&str>) -> Result<()> {
    stage.world.clock.advance(Span::from_secs(60));
    let settings = of_group(environment, needs);
    let (place, now) = (name(environment), stage.world.clock.read());
    stage.db.apply_environment(&place, environment, &settings, &[], "ada", now).await?;
    let mut contents = stage.contents(&format!("{environment}-{version}"));
    contents.settings = settings.sealed();
    let request =
        DeployRequest { environment: place, version: v(version), contents, ..stage.to_deploy(version) };
    stage.executor().deploy(&request).await.map(drop)
}

/// `api` 1.0 and 2.0, `web` 1.0 and 2.0, of which the newer one needs the newer `api`.
async fn shop() -> Stage {
    let stage = Stage::new().await;
    deploy(&stage, "api", "1.0", None).await.unwrap();
    deploy(&stage, "web", "1.0", Some("1.0")).await.unwrap();
    deploy(&stage, "api", "2.0", None).await.unwrap();
    deploy(&stage, "web", "2.0", Some("2.0")).await.unwrap();
    stage
}

fn asked() -> GroupRequest {
    GroupRequest {
        group: GROUP.into(),
        force: true,
        actor: "ada".into(),
        reason: Some("checkout is down".into()),
        limits: Limits::default(),
    }
}

fn live(stage: &Stage, environment: &str) -> String {
    stage.world.live(&name(environment)).unwrap().2.to_string()
}

fn both(stage: &Stage) -> [String; 2] {
    ["web", "api"].map(|environment| live(stage, environment))
}

async fn back(stage: &Stage) -> GroupRollback {
    match stage.rollback().rollback_group(&asked()).await.unwrap() {
        Carried::Ended(group) => *group,
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.as_ref().map_err(Error::code).unwrap_err()
}

#[tokio::test]
async fn all_go_back_who_needs_others_first() {
    let stage = shop().await;
    let preview = stage.rollback().preview_group(&asked()).await.unwrap();
    let shown: Vec<_> =
        preview.parts.iter().map(|part| (part.environment.as_str(), &part.blockers)).collect();
    assert_eq!(shown, [("web", &vec![]), ("api", &vec![])]);
    let group = back(&stage).await;
    assert_eq!(group.status, GroupStatus::Completed, "{group:?}");
    let parts: Vec<_> = group.parts.iter().map(|part| part.rollback.as_ref().unwrap()).collect();
    assert_eq!(parts.iter().map(|event| event.environment.as_str()).collect::<Vec<_>>(), ["web", "api"]);
    assert!(parts[0].id < parts[1].id && parts.iter().all(|event| event.reason.is_some()));
    assert_eq!(both(&stage), ["1.0", "1.0"]);
    assert_eq!(stage.db.list_group_rollbacks(GROUP, 10).await.unwrap(), [group]);
}

#[tokio::test]
async fn what_others_need_is_not_taken_from_them() {
    let stage = shop().await;
    let request = RollbackRequest { environment: name("api"), ..stage.forced() };
    let refused = stage.rollback().rollback(&request).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0185");
    assert!(refused.message().contains("2.0 in web would not work with 1.0 in api"), "{refused}");
    assert!(refused.hint_text().unwrap().contains("--group shop"));
    assert_eq!(both(&stage), ["2.0", "2.0"]);
    // Nor by a deployment; and nobody is deployed before what it needs.
    assert_eq!(code(deploy(&stage, "api", "1.5", None).await), "ORC-0185");
    assert_eq!(code(deploy(&stage, "web", "3.0", Some("3.0")).await), "ORC-0186");
    // In an emergency it is.
    let glass = Asking { break_glass: true, reason: Some("fire".into()), ..Asking::by("ada") };
    let rolled = stage.rollback().rollback_as(&request, &glass).await.unwrap();
    assert!(rolled.event.break_glass.unwrap().contains("would not work"));
    assert_eq!(both(&stage), ["2.0", "1.0"]);
}

#[tokio::test]
async fn a_bad_release_that_others_need_stays_and_people_are_told() {
    let stage = shop().await;
    stage.sql("UPDATE deployments SET status = 'failed', error_message = 'bad' WHERE environment = 'api' AND version = '2.0'").await;
    let bad = stage.db.current_deployment(&name("api")).await.unwrap().unwrap();
    let held = stage.rollback().rollback_by_itself(&bad, true).await.unwrap();
    assert!(matches!(&held, crate::Automatic::Held(why) if why.contains("would not work")), "{held:?}");
}

#[tokio::test]
async fn if_one_cannot_the_others_come_forward_again() {
    let stage = shop().await;
    stage.world.forget_calls();
    // The switch of the second fails, so often that it is put back.
    let quiet = shop().await;
    quiet.world.forget_calls();
    back(&quiet).await;
    let calls = quiet.world.calls();
    let second = calls.iter().enumerate().filter(|(_, call)| call.kind == Kind::Switch).nth(1).unwrap().0;
    for number in second + 1..second + 4 {
        stage.world.fault(When::Call(number), 1, Fault::Fail(PortErrorKind::Failed));
    }
    let group = back(&stage).await;
    assert_eq!(group.status, GroupStatus::Failed, "{group:?}");
    assert!(group.error_message.as_deref().unwrap().starts_with("api: "), "{group:?}");
    assert!(group.parts[0].undo.is_some() && group.parts[1].undo.is_none());
    assert_eq!(both(&stage), ["2.0", "2.0"]);
    assert!(stage.db.list_holds(&name("web")).await.unwrap().is_empty(), "nothing stays held");
}

#[tokio::test]
async fn a_member_that_is_down_or_busy_leaves_all_as_they_are() {
    let stage = shop().await;
    deploy(&stage, "mail", "1.0", None).await.unwrap();
    let refused = stage.rollback().rollback_group(&asked()).await.unwrap_err();
    assert!(refused.message().starts_with("mail: there is no good release before 1.0"), "{refused}");
    let request = GroupRequest { group: "nobody".into(), ..asked() };
    let unknown = stage.rollback().rollback_group(&request).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.hint_text()), ("ORC-0189", Some("there are: shop")));
    deploy(&stage, "mail", "1.1", None).await.unwrap();
    let without = GroupRequest { force: false, ..asked() };
    let refused = stage.rollback().rollback_group(&without).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0187");
    assert!(refused.message().contains("use --force"), "{refused}");
    // Its warm release died, and nothing of it is left to start.
    stage.world.lose_instances(&v("1.0"));
    stage.world.lose_artifact(&crate::release::Digest::of(b"mail-1.0"));
    let refused = stage.rollback().rollback_group(&asked()).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0187");
    assert!(refused.message().contains("mail: "), "{refused}");
    assert_eq!(both(&stage), ["2.0", "2.0"]);
    assert!(stage.db.list_group_rollbacks(GROUP, 10).await.unwrap().is_empty());
}

/// While the first one goes back somebody deploys the other one anew: that is not what was planned.
#[tokio::test]
async fn a_member_that_somebody_deployed_meanwhile_is_not_taken_back() {
    let stage = shop().await;
    let gate = Gate::default();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Hold(gate.clone()));
    let (group, ()) = tokio::join!(back(&stage), async {
        gate.reached().await;
        deploy(&stage, "api", "3.0", None).await.unwrap();
        gate.open();
    });
    assert_eq!(group.status, GroupStatus::Failed, "{group:?}");
    assert!(group.error_message.as_deref().unwrap().contains("meanwhile"), "{group:?}");
    assert_eq!(both(&stage), ["2.0", "3.0"]);
    assert!(stage.db.list_holds(&name("api")).await.unwrap().is_empty());
}

/// By the daemon, that comes a day later.
#[tokio::test]
async fn a_group_that_was_left_alone_for_long_comes_forward_again() {
    let stage = shop().await;
    let quiet = stage.fork().await;
    quiet.world.forget_calls();
    back(&quiet).await;
    let calls = quiet.world.calls();
    let second = calls.iter().enumerate().filter(|(_, call)| call.kind == Kind::Switch).nth(1).unwrap().0;
    let template = stage.fork().await;
    template.world.forget_calls();
    // It dies in what the second part begins with.
    template.world.fault(When::Call(second - 1), 1, Fault::CrashBefore);
    let db = template.another_handle().await;
    let program = DeploymentRollback::new(db.clone(), template.world.ports());
    assert!(template.world.until_crash(program.rollback_group(&asked())).await.is_none());
    db.close().await;
    let ports = template.world.reborn();
    template.world.clock.advance(Span::from_secs(24 * 3600));
    carry_on(&template, &ports, "a day later").await;
    let group = template.db.list_group_rollbacks(GROUP, 1).await.unwrap().remove(0);
    assert_eq!(
        (group.status, both(&template)),
        (GroupStatus::Failed, ["2.0", "2.0"].map(String::from)),
        "{group:?}"
    );
}

/// Another program does what the daemon does: ends open operations, and goes on with the group.
async fn carry_on(stage: &Stage, ports: &Ports, what: &str) {
    let executor = DeploymentExecutor::new(stage.db.clone(), ports.clone());
    let rollback = DeploymentRollback::new(stage.db.clone(), ports.clone());
    for _ in 0..20 {
        for operation in stage.db.list_open_operations().await.unwrap() {
            executor.resume(&operation.environment, "daemon").await.unwrap();
        }
        let open = stage.db.list_open_group_rollbacks().await.unwrap();
        let Some(group) = open.first() else { return };
        rollback.resume_group(group, "daemon").await.unwrap();
    }
    panic!("{what}: it does not come to an end");
}

#[tokio::test]
async fn whenever_its_program_dies_all_or_none_are_back() {
    let template = shop().await;
    template.world.forget_calls();
    let quiet = template.fork().await;
    back(&quiet).await;
    let calls = quiet.world.calls().len();
    assert!(calls > 4, "{calls}");
    for number in 1..=calls {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let what = format!("{fault:?} of call {number}");
            let stage = template.fork().await;
            stage.world.fault(When::Call(number), 1, fault);
            let db = stage.another_handle().await;
            let program = DeploymentRollback::new(db.clone(), stage.world.ports());
            let died = stage.world.until_crash(program.rollback_group(&asked())).await;
            assert!(died.is_none(), "{what} did not come about");
            db.close().await;
            let ports = stage.world.reborn();
            carry_on(&stage, &ports, &what).await;
            let groups = stage.db.list_group_rollbacks(GROUP, 10).await.unwrap();
            let expected = match groups.first().map(|group| group.status) {
                Some(GroupStatus::Completed) => ["1.0", "1.0"],
                // It died before it was written down.
                Some(GroupStatus::Failed) | None => ["2.0", "2.0"],
                other => panic!("{what}: {other:?} {groups:?}"),
            };
            assert_eq!(both(&stage), expected, "{what}: {groups:?}");
        }
    }
}

#[tokio::test]
async fn nobody_takes_it_from_a_program_that_runs() {
    let stage = shop().await;
    let gate = crate::fakes::Gate::default();
    stage.world.fault(When::Kind(Kind::Switch), 1, Fault::Hold(gate.clone()));
    let first = stage.rollback();
    let request = asked();
    let running = first.rollback_group(&request);
    let other = async {
        gate.reached().await;
        let open = stage.db.list_open_group_rollbacks().await.unwrap().remove(0);
        let taken = stage.rollback().resume_group(&open, "daemon").await.unwrap();
        assert!(taken.is_none(), "{taken:?}");
        let second = stage.rollback().rollback_group(&asked()).await.unwrap_err();
        assert!(second.message().contains("busy") || second.code() == "ORC-0188", "{second}");
        gate.open();
    };
    let (carried, ()) = tokio::join!(running, other);
    assert!(matches!(carried.unwrap(), Carried::Ended(group) if group.status == GroupStatus::Completed));
}
