//! What is seen of a release: commands in its place, requests to it, its output.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;

use common::{WEB, World, until};
use orchestrate_core::ports::{
    CountLines, OneOff, Placement, PortErrorKind, Probe, Provider as _, Witness as _,
};
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_providers::witness::ReleaseWitness;

fn one_off(placement: &Placement, command: &[&str], timeout: Span) -> OneOff {
    OneOff {
        placement: placement.clone(),
        name: "smoke".into(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        variables: BTreeMap::from([("ORCHESTRATE_ADDRESS".to_owned(), "127.0.0.1:1".to_owned())]),
        timeout,
    }
}

async fn running() -> (World, Placement) {
    let world = World::new().await;
    let placement = world.release(1, WEB, 1, 0);
    world.start(&placement, 1).await.unwrap();
    world.healthy(&placement, Span::from_secs(20)).await.unwrap();
    (world, placement)
}

/// Processes of this machine whose command line holds the text.
fn with_line(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .map(line)
        .filter(|line| String::from_utf8_lossy(line).replace('\0', " ").contains(text))
        .count()
}

#[tokio::test]
async fn a_command_runs_where_the_release_does_and_says_how_it_ended() {
    let (world, placement) = running().await;
    let script =
        "test -x ./run && echo \"$ORCHESTRATE_VERSION at $ORCHESTRATE_ADDRESS\"; echo no >&2; exit 3";
    let wide = Span::from_secs(20);
    let ended = world.supervisor().run_once(&one_off(&placement, &["sh", "-c", script], wide)).await.unwrap();
    assert!(!ended.success);
    assert_eq!(ended.how, "exited with status 3");
    assert!(ended.output.ends_with("at 127.0.0.1:1\nno"), "{}", ended.output);
    let ended = world.supervisor().run_once(&one_off(&placement, &["true"], wide)).await.unwrap();
    assert!(ended.success && ended.output.is_empty(), "{ended:?}");
    let missing = world.supervisor().run_once(&one_off(&placement, &["./nothing"], wide)).await.unwrap_err();
    assert_eq!(missing.kind, PortErrorKind::Failed);
    assert!(missing.message.starts_with("command `./nothing` does not exist"), "{}", missing.message);
    world.stop(&placement, 1).await.unwrap();
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_and_so_is_one_that_nobody_waits_for() {
    let (world, placement) = running().await;
    // Nobody else on this machine sleeps for so long.
    let asleep = format!("sleep 9{}", std::process::id());
    let script = format!("echo waiting; {asleep} & {asleep}");
    let hangs = one_off(&placement, &["sh", "-c", &script], Span::from_millis(200));
    let error = world.supervisor().run_once(&hangs).await.unwrap_err();
    assert_eq!((error.kind, error.detail.as_deref()), (PortErrorKind::TimedOut, Some("waiting")));
    assert_eq!(with_line(&asleep), 0);

    let hangs = one_off(&placement, &["sh", "-c", &script], Span::from_secs(600));
    tokio::select! {
        ended = world.supervisor().run_once(&hangs) => panic!("{ended:?}"),
        () = until(|| (with_line(&asleep) > 1).then_some(())) => {}
    }
    until(|| (with_line(&asleep) == 0).then_some(())).await;
    world.stop(&placement, 1).await.unwrap();
}

#[tokio::test]
async fn requests_see_the_whole_answer_and_end_in_time() {
    let mut world = World::closed();
    let supervisor = world.open().await;
    let placement = world.release(1, WEB, 1, 0);
    world.start(&placement, 1).await.unwrap();
    world.healthy(&placement, Span::from_secs(20)).await.unwrap();
    let address = world.supervisor().instances(&placement.environment).await.unwrap()[0].address.unwrap();
    let witness = ReleaseWitness::new(supervisor);
    let probe = |path: &str, timeout| Probe {
        address,
        method: "GET".into(),
        path: path.into(),
        headers: BTreeMap::from([("X-Test".to_owned(), "1".to_owned())]),
        body: None,
        timeout,
    };
    let answer = witness.request(&probe("/any", Span::from_secs(20))).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(placement.version.as_str()), "{}", answer.body);
    assert!(answer.headers.contains_key("content-length") && answer.micros > 0);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = Probe { address: silent.local_addr().unwrap(), ..probe("/", Span::from_millis(100)) };
    assert_eq!(witness.request(&hung).await.unwrap_err().kind, PortErrorKind::TimedOut);
    let lines =
        |pattern: &str| CountLines { placement: placement.clone(), process: None, pattern: pattern.into() };
    let found = witness.count_lines(&lines("^listening$")).await.unwrap();
    assert_eq!((found.matches, found.first.as_deref()), (1, Some("listening")));
    assert_eq!(witness.count_lines(&lines("nothing")).await.unwrap().matches, 0);
    drop(witness);
    world.stop(&placement, 1).await.unwrap();
    world.close();
}
