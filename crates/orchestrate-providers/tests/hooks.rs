//! Commands that are run once in an operation, whoever asks how often.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;

use common::{World, in_time, until};
use orchestrate_core::hooks::Hook;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{ForgetHooks, HookRequest, Placement, PortErrorKind, Provider as _};
use orchestrate_core::time::Span;
use tokio::sync::Mutex;

const SCRIPT: &str = "#!/bin/sh\necho \"$GREETING $ORCHESTRATE_HOOK $ORCHESTRATE_VERSION\"\n";

/// A process that another test is just forking holds this one's lock on its home for a moment.
static TURN: Mutex<()> = Mutex::const_new(());

fn request(placement: &Placement, operation: i64, command: &str) -> HookRequest {
    HookRequest {
        placement: placement.clone(),
        of: format!("d{operation}"),
        hook: Hook::PreDeploy,
        command: vec!["sh".into(), "-c".into(), command.into()],
        timeout: Span::from_secs(15),
        fence: Fence(operation),
    }
}

/// Writes a line each time it is run.
fn counted(world: &World) -> (String, impl Fn() -> usize + use<>) {
    let file = world.home.path().join("count");
    let command = format!("echo once >> {}; ./run; echo told", file.display());
    (command, move || fs::read_to_string(&file).unwrap_or_default().lines().count())
}

#[tokio::test]
async fn one_that_ended_is_told_again_and_not_run_again_also_by_a_new_supervisor() {
    let _turn = TURN.lock().await;
    let mut world = World::new().await;
    let release = world.release(1, SCRIPT, 0, 1);
    let (command, count) = counted(&world);
    let asked = request(&release, 1, &command);
    let ended = in_time(world.supervisor().hook(&asked)).await.unwrap();
    assert!(ended.success);
    assert_eq!(ended.output, "hello pre_deploy 1.1.0\ntold");
    assert_eq!(in_time(world.supervisor().hook(&asked)).await.unwrap(), ended);
    world.open().await;
    // Who takes an operation over has a newer fence.
    let taken_over = HookRequest { fence: Fence(7), ..asked.clone() };
    assert_eq!(in_time(world.supervisor().hook(&taken_over)).await.unwrap(), ended);
    assert_eq!(count(), 1);
    let run = world.home.path().join("run/production/blue-1");
    assert!(!run.exists(), "the directory was only lent");

    let late = in_time(world.supervisor().hook(&HookRequest { of: "d2".into(), ..asked })).await;
    assert_eq!(late.unwrap_err().kind, PortErrorKind::Fenced, "an older operation has no say any more");
    assert!(in_time(world.supervisor().hook(&request(&release, 8, &command))).await.unwrap().success);
    assert_eq!(count(), 2, "another operation runs it again");
}

#[tokio::test]
async fn one_that_was_cut_off_has_failed_and_is_not_run_twice() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let release = world.release(1, SCRIPT, 0, 1);
    let mark = world.home.path().join("mark");
    let asked = request(&release, 1, &format!("echo here >> {}; exec sleep 1000", mark.display()));
    tokio::select! {
        ended = world.supervisor().hook(&asked) => panic!("{ended:?}"),
        _ = until(|| mark.exists().then_some(())) => {}
    }
    let again = in_time(world.supervisor().hook(&asked)).await.unwrap_err();
    assert!(again.message.contains("was cut off, and is not run twice"), "{again:?}");
    assert_eq!(in_time(world.supervisor().hook(&asked)).await.unwrap_err(), again);
    assert_eq!(fs::read_to_string(mark).unwrap(), "here\n");
}

#[tokio::test]
async fn one_whose_record_is_torn_anywhere_counts_as_cut_off_and_is_not_run_twice() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let release = world.release(1, SCRIPT, 0, 1);
    let (command, count) = counted(&world);
    let asked = request(&release, 1, &command);
    let ended = in_time(world.supervisor().hook(&asked)).await.unwrap();
    let file = world.home.path().join("hooks/production/d1-pre_deploy.json");
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let told = in_time(world.supervisor().hook(&asked)).await.unwrap_err();
        assert!(told.message.contains("was cut off, and is not run twice"), "{length} bytes: {told:?}");
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(in_time(world.supervisor().hook(&asked)).await.unwrap(), ended);
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn it_runs_where_the_instances_run_and_leaves_them_alone() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let release = world.release(1, "#!/bin/sh\nexec sleep 1000\n", 0, 1);
    world.start(&release, 1).await.unwrap();
    let ended = in_time(world.supervisor().hook(&request(&release, 1, "pwd; exit 5"))).await.unwrap();
    assert_eq!((ended.success, ended.how.as_str(), ended.code), (false, "exited with status 5", Some(5)));
    assert!(ended.output.ends_with("run/production/blue-1"), "{}", ended.output);
    assert_eq!(world.instances().await.len(), 1);
    assert!(std::path::Path::new(&ended.output).is_dir());
    world.stop(&release, 1).await.unwrap();
}

#[tokio::test]
async fn what_is_kept_is_removed_but_for_what_goes_on_and_an_older_operation_runs_nothing_any_more() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let release = world.release(1, SCRIPT, 0, 1);
    let (command, count) = counted(&world);
    for operation in [1, 2, 21] {
        in_time(world.supervisor().hook(&request(&release, operation, &command))).await.unwrap();
    }
    let directory = world.home.path().join("hooks/production");
    let kept = || fs::read_dir(&directory).unwrap().map(|one| one.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(kept().len(), 3);
    let environment = release.environment.clone();
    let forget = |fence: i64, but: Option<&str>| ForgetHooks {
        environment: environment.clone(),
        but: but.map(str::to_owned),
        fence: Fence(fence),
    };
    let outdated = in_time(world.supervisor().forget_hooks(&forget(20, None))).await.unwrap_err();
    assert_eq!((outdated.kind, kept().len()), (PortErrorKind::Fenced, 3));
    in_time(world.supervisor().forget_hooks(&forget(22, Some("d2")))).await.unwrap();
    assert_eq!(kept(), ["d2-pre_deploy.json"], "d21 is another one");
    let late = in_time(world.supervisor().hook(&request(&release, 21, &command))).await.unwrap_err();
    assert_eq!((late.kind, count()), (PortErrorKind::Fenced, 3), "who was given up runs nothing again");
    in_time(world.supervisor().forget_hooks(&forget(22, None))).await.unwrap();
    assert!(kept().is_empty());
}
