//! Commands of a custom provider that do not do what they should: each is an error that names the command, and nothing of
//! it is left.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::World;
use orchestrate_core::environment::{Custom, CustomTimeouts, Engine, ProcessType};
use orchestrate_core::name::{Fence, ReleaseId};
use orchestrate_core::ports::{
    AwaitHealthy, Instance, InstanceState, Placement, PortError, PortErrorKind, PortResult, Processes,
    Provider as _, StartRequest, StopRequest,
};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_providers::RunSpec;
use orchestrate_providers::custom::CustomProvider;
use tempfile::TempDir;

const NOTHING: &str = "#!/bin/sh\necho '{\"ok\":true,\"instances\":[]}'\n";

struct Stage {
    world: World,
    provider: Arc<CustomProvider>,
    placement: Placement,
}

impl Stage {
    /// A release whose `start` is this script; its other commands answer that nothing runs.
    async fn starting_by(script: &str) -> Self {
        Self::with(&[("start", script)], CustomTimeouts::default()).await
    }

    async fn limited(script: &str, start: Span) -> Self {
        Self::with(&[("start", script)], CustomTimeouts { start, ..CustomTimeouts::default() }).await
    }

    async fn with(scripts: &[(&str, &str)], timeouts: CustomTimeouts) -> Self {
        let mut world = World::closed();
        let source = TempDir::new().unwrap();
        for name in ["start", "health", "stop", "status"] {
            let script = scripts.iter().find(|(verb, _)| *verb == name).map_or(NOTHING, |(_, script)| script);
            common::executable(&source.path().join(name), script);
        }
        let artifact = world.store.take_in_path(source.path(), None).unwrap();
        let verb = |name: &str| vec![format!("./{name}"), "argument".to_owned()];
        let custom = Custom {
            start: verb("start"),
            health: verb("health"),
            stop: verb("stop"),
            status: verb("status"),
            timeouts,
            ..Custom::default()
        };
        let web = ProcessType {
            command: Vec::new(),
            instances: 1,
            listen: Some("127.0.0.1:1".parse().unwrap()),
            confinement: Default::default(),
        };
        let placement = world.placement(1);
        let mut spec = spec(&world, &placement, artifact.digest, custom);
        spec.processes = BTreeMap::from([("web".to_owned(), web)]);
        world.seal(ReleaseId(1), spec);
        let hooks = world.open().await;
        let home = world.home.path().to_path_buf();
        let provider = CustomProvider::new(home, Arc::clone(&world.store), world.specs.clone(), hooks);
        Self { world, provider: Arc::new(provider), placement }
    }

    async fn start(&self) -> PortResult<Vec<Instance>> {
        let request = StartRequest {
            placement: self.placement.clone(),
            processes: Processes::All,
            counts: None,
            fence: Fence(1),
        };
        common::in_time(self.provider.start(&request)).await
    }

    async fn refused(&self) -> PortError {
        let error = self.start().await.unwrap_err();
        assert!(error.message.contains("`./start argument` (start of 1.1.0)"), "which command? {error}");
        error
    }

    async fn healthy(&self, deadline: Span) -> PortResult<Vec<Instance>> {
        let request = AwaitHealthy {
            placement: self.placement.clone(),
            processes: Processes::All,
            counts: None,
            deadline,
        };
        common::in_time(self.provider.await_healthy(&request)).await
    }

    async fn stop(&self, fence: i64) -> PortResult<()> {
        let request = StopRequest {
            placement: self.placement.clone(),
            processes: Processes::All,
            counts: None,
            fence: Fence(fence),
        };
        common::in_time(self.provider.stop(&request)).await
    }

    /// Processes that live in the home.
    fn remains(&self) -> Vec<String> {
        let home = self.world.home.path().canonicalize().unwrap();
        let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours =
            |pid: &std::path::PathBuf| fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&home));
        pids.filter(ours).map(|pid| fs::read_to_string(pid.join("cmdline")).unwrap_or_default()).collect()
    }
}

fn spec(
    world: &World,
    placement: &Placement,
    digest: orchestrate_core::release::Digest,
    custom: Custom,
) -> RunSpec {
    RunSpec {
        service: "shop".into(),
        environment: placement.environment.clone(),
        engine: Engine { custom: Some(custom), ..Engine::default() },
        image: None,
        drain: Span::from_secs(30),
        version: placement.version.clone(),
        digest,
        processes: BTreeMap::new(),
        confinement: Default::default(),
        health_check: orchestrate_core::environment::HealthCheck {
            interval: Span::from_millis(20),
            ..Default::default()
        },
        stop_timeout: Span::from_secs(5),
        variables: BTreeMap::from([("NOTES".to_owned(), world.home.path().display().to_string())]),
        secrets: BTreeMap::from([("PASSWORD".to_owned(), SecretText::new("hunter2"))]),
    }
}

fn answering(answer: &str) -> String {
    format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_all_that_it_started_even_if_it_ignores_sigterm() {
    let script = "#!/bin/sh\ntrap '' TERM\necho calling home >&2\nsleep 1000 &\nsleep 1000\nsleep 1000\n";
    let stage = Stage::limited(script, Span::from_millis(300)).await;
    let error = stage.refused().await;
    assert_eq!(error.kind, PortErrorKind::TimedOut);
    assert!(error.message.contains("did not end within 300ms"), "{error}");
    assert_eq!(error.detail.as_deref(), Some("calling home"));
    assert_eq!(stage.remains(), [""; 0]);
}

#[tokio::test]
async fn one_that_floods_stdout_is_ended_and_says_so() {
    let stage = Stage::starting_by("#!/bin/sh\nexec yes '{\"ok\":true}'\n").await;
    let error = stage.refused().await;
    assert!(error.message.contains("printed more than 1 MiB on stdout"), "{error}");
    assert_eq!(stage.remains(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_one_json_object_is_shown() {
    for (script, wanted) in [
        ("#!/bin/sh\n", "it printed nothing"),
        ("#!/bin/sh\necho 'Deploying\u{1b}[1m shop'\n", "it printed `Deploying\\u{1b}[1m shop`"),
        ("#!/bin/sh\necho '{\"ok\":true} {\"ok\":true}'\n", "trailing characters"),
        ("#!/bin/sh\necho '{\"fine\":true}'\n", "missing field `ok`"),
        ("#!/bin/sh\nprintf '\\377\\376'\n", "did not print one JSON object"),
        ("#!/bin/sh\necho '{\"ok\":true,\"instances\":7}'\n", "an object that the protocol does not have"),
        ("#!/bin/sh\necho '{\"ok\":true,\"weight\":101}'\n", "above 100 percent"),
    ] {
        let error = Stage::starting_by(script).await.refused().await;
        assert_eq!(error.kind, PortErrorKind::Failed, "{error}");
        assert!(error.message.contains(wanted), "{wanted}: {error}");
    }
}

#[tokio::test]
async fn an_odd_exit_status_is_an_error_whatever_was_printed() {
    let error = Stage::starting_by("#!/bin/sh\necho no credentials >&2\nexit 3\n").await.refused().await;
    assert!(error.message.contains("and exited with status 3; it printed nothing"), "{error}");
    assert_eq!(error.detail.as_deref(), Some("no credentials"));
    let error = Stage::starting_by("#!/bin/sh\necho '{\"ok\":true}'\nexit 4\n").await.refused().await;
    assert!(error.message.contains("said `\"ok\":true` and exited with status 4"), "{error}");
    let error = Stage::starting_by("#!/bin/sh\nkill -9 $$\n").await.refused().await;
    assert!(error.message.contains("killed by SIGKILL"), "{error}");
}

#[tokio::test]
async fn its_own_words_are_passed_on() {
    for (kind, wanted) in [
        ("not_ready", PortErrorKind::NotReady),
        ("missing", PortErrorKind::Missing),
        ("failed", PortErrorKind::Failed),
        ("unreachable", PortErrorKind::Unreachable),
        ("fenced", PortErrorKind::Fenced),
    ] {
        let answer = format!(
            "{{\"ok\":false,\"kind\":\"{kind}\",\"message\":\"no quota\",\"detail\":\"ask for more\"}}"
        );
        let script = answering(&answer) + "exit 1\n";
        let error = Stage::starting_by(&script).await.start().await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str(), error.detail.as_deref()),
            (wanted, "no quota", Some("ask for more"))
        );
    }
}

#[tokio::test]
async fn one_that_is_missing_is_named() {
    let stage = Stage::starting_by("#!/no/such/interpreter\n").await;
    let error = stage.refused().await;
    assert!(error.message.contains("its interpreter `/no/such/interpreter` does not exist"), "{error}");
    let mut world = World::closed();
    let placement = world.placement(1);
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("start"), "not executable").unwrap();
    let digest = world.store.take_in_path(source.path(), None).unwrap().digest;
    let (hooks, home) = (world.open().await, world.home.path().to_path_buf());
    for (program, wanted) in [
        ("./ops", "does not exist"),
        ("./start", "is not executable"),
        ("no-such-program", "is in no directory of PATH"),
    ] {
        let custom = Custom { start: vec![program.to_owned()], ..Custom::default() };
        world.seal(ReleaseId(1), spec(&world, &placement, digest.clone(), custom));
        let (store, specs) = (Arc::clone(&world.store), world.specs.clone());
        let provider = CustomProvider::new(home.clone(), store, specs, Arc::clone(&hooks) as _);
        let request = StartRequest {
            placement: placement.clone(),
            processes: Processes::All,
            counts: None,
            fence: Fence(1),
        };
        let error = provider.start(&request).await.unwrap_err();
        assert!(error.message.contains(&format!("`{program}` (start of 1.1.0) cannot be run")), "{error}");
        assert!(error.message.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn children_that_hold_its_stdout_do_not_keep_us_waiting_and_end_with_it() {
    let stage = Stage::starting_by("#!/bin/sh\nsleep 1000 &\necho '{\"ok\":true,\"instances\":[]}'\n").await;
    assert_eq!(stage.start().await.unwrap(), []);
    assert_eq!(stage.remains(), [""; 0], "what shall stay leaves the process group");
}

#[tokio::test]
async fn a_request_that_is_not_read_is_no_error() {
    // The request is larger than a pipe, because a variable of the spec is not a part of it but its processes are.
    let stage = Stage::starting_by("#!/bin/sh\nexec 0<&-\necho '{\"ok\":true,\"instances\":[]}'\n").await;
    let placement = &stage.placement;
    stage.world.edit(placement, |spec| {
        let words = vec!["x".repeat(1 << 20)];
        spec.processes.get_mut("web").unwrap().command = words;
    });
    assert_eq!(stage.start().await.unwrap(), []);
}

#[tokio::test]
async fn an_instance_that_no_release_can_have_is_refused() {
    let one = |rest: &str| answering(&format!("{{\"ok\":true,\"instances\":[{rest}]}}"));
    let web = "{\"id\":\"blue-web-1\",\"process\":\"web\",\"state\":\"ready\"}";
    for (script, wanted) in [
        (one("{\"id\":\"a\",\"process\":\"worker\",\"state\":\"ready\"}"), "process type `worker`"),
        (one(&format!("{web},{web}")), "told of blue-web-1, twice"),
        (one("{\"id\":\"a\",\"process\":\"web\",\"state\":\"fine\"}"), "unknown variant `fine`"),
        (one("{\"id\":\"a\",\"process\":\"web\",\"state\":\"ready\",\"address\":\"shop:80\"}"), "address"),
    ] {
        let error = Stage::starting_by(&script).await.refused().await;
        assert!(error.message.contains(wanted), "{wanted}: {error}");
    }
}

#[tokio::test]
async fn readiness_is_waited_for_and_what_is_hopeless_is_told_at_once() {
    let not_yet =
        answering("{\"ok\":false,\"kind\":\"not_ready\",\"message\":\"2 of 3 targets are draining\"}");
    let stage = Stage::with(&[("health", &not_yet)], CustomTimeouts::default()).await;
    let error = stage.healthy(Span::from_millis(500)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TimedOut);
    assert_eq!(error.message, "blue-web-1 of 1.1.0 is not ready after 500ms: 2 of 3 targets are draining");

    let never = answering("{\"ok\":false,\"kind\":\"failed\",\"message\":\"no such cluster\"}");
    let stage = Stage::with(&[("health", &never)], CustomTimeouts::default()).await;
    assert_eq!(stage.healthy(Span::from_secs(600)).await.unwrap_err().message, "no such cluster");

    let homeless = answering(
        "{\"ok\":true,\"instances\":[{\"id\":\"blue-web-1\",\"process\":\"web\",\"state\":\"ready\"}]}",
    );
    let stage = Stage::with(&[("health", &homeless)], CustomTimeouts::default()).await;
    let error = stage.healthy(Span::from_secs(600)).await.unwrap_err();
    assert!(error.message.contains("gave no `address`") && error.detail.unwrap().contains("custom.switch"));

    let other = homeless.replace("\"ready\"", "\"ready\",\"address\":\"127.0.0.1:1\",\"version\":\"1.0.0\"");
    let stage = Stage::with(&[("health", &other)], CustomTimeouts::default()).await;
    let error = stage.healthy(Span::from_millis(300)).await.unwrap_err();
    assert!(error.message.contains("blue-web-1 runs 1.0.0 instead of 1.1.0"), "{error}");
    let right = other.replace("1.0.0", "1.1.0");
    let stage = Stage::with(&[("health", &right)], CustomTimeouts::default()).await;
    assert_eq!(stage.healthy(Span::from_secs(5)).await.unwrap()[0].state, InstanceState::Ready);
}

#[tokio::test]
async fn a_health_command_that_hangs_once_is_asked_again() {
    let script = "#!/bin/sh\n[ -e \"$NOTES/hung\" ] || { touch \"$NOTES/hung\"; sleep 1000; }\necho '{\"ok\":true,\"instances\":[{\"id\":\"blue-web-1\",\"process\":\"web\",\"state\":\"ready\",\"address\":\"127.0.0.1:1\"}]}'\n";
    let timeouts = CustomTimeouts { health: Span::from_millis(300), ..CustomTimeouts::default() };
    let stage = Stage::with(&[("health", script)], timeouts).await;
    assert_eq!(stage.healthy(Span::from_secs(15)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_killed_daemon_left_running_is_ended_before_the_next_command() {
    let script = "#!/bin/sh\n[ -e \"$NOTES/hung\" ] || { touch \"$NOTES/hung\"; exec sleep 1000; }\necho '{\"ok\":true,\"instances\":[]}'\n";
    let stage = Stage::starting_by(script).await;
    let provider = Arc::clone(&stage.provider);
    let request = StartRequest {
        placement: stage.placement.clone(),
        processes: Processes::All,
        counts: None,
        fence: Fence(1),
    };
    // A runtime that is given up takes its tasks with it, as a killed daemon does; but it kills what it ran.
    let hung = stage.world.home.path().join("hung");
    let first = tokio::spawn(async move { provider.start(&request).await });
    common::until(|| hung.exists().then_some(())).await;
    let lock = stage.world.home.path().join("custom/production/blue.lock");
    let mark: serde_json::Value = common::until(|| serde_json::from_slice(&fs::read(&lock).ok()?).ok()).await;
    let pid = u32::try_from(mark["pid"].as_u64().unwrap()).unwrap();
    assert!(common::is_alive(pid));
    // Another lock file in its place: to the next one, nobody holds it, and this is what it left.
    fs::copy(&lock, lock.with_extension("copy")).unwrap();
    fs::rename(lock.with_extension("copy"), &lock).unwrap();
    assert_eq!(stage.start().await.unwrap(), []);
    assert!(!common::is_alive(pid));
    assert!(common::in_time(first).await.unwrap().is_err());
}

#[tokio::test]
async fn what_it_prints_for_people_is_in_the_log() {
    let stage =
        Stage::starting_by("#!/bin/sh\necho three of three >&2\necho '{\"ok\":true,\"instances\":[]}'\n")
            .await;
    stage.start().await.unwrap();
    let log = fs::read_to_string(stage.world.log(&stage.placement, "start")).unwrap();
    assert_eq!(log, "three of three\n");
}

#[tokio::test]
async fn it_is_told_all_that_the_protocol_says() {
    let stage =
        Stage::starting_by("#!/bin/sh\ncat > \"$NOTES/told\"\nenv > \"$NOTES/variables\"\necho '{\"ok\":true,\"instances\":[]}'\n").await;
    stage.start().await.unwrap();
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(stage.world.home.path().join("told")).unwrap()).unwrap();
    let directory = told["directory"].as_str().unwrap().to_owned();
    assert!(Path::new(&directory).join("start").is_file(), "{directory}");
    let wanted = serde_json::json!({
        "protocol": 1, "verb": "start", "environment": "production", "service": "shop", "slot": "blue", "release": 1,
        "version": "1.1.0", "fence": 1, "directory": directory, "digest": told["digest"],
        "processes": { "web": { "instances": 1, "listen": "127.0.0.1:1" } },
        "instances": [{ "id": "blue-web-1", "process": "web" }], "all": false,
        "settings": { "health_path": "/", "expected_status": 200, "health_timeout_ms": 1000, "drain_ms": 30000, "stop_timeout_ms": 5000 },
    });
    assert_eq!(told, wanted);
    let variables = fs::read_to_string(stage.world.home.path().join("variables")).unwrap();
    for line in [
        "PASSWORD=hunter2",
        "ORCHESTRATE_VERB=start",
        "ORCHESTRATE_VERSION=1.1.0",
        "ORCHESTRATE_ENVIRONMENT=production",
    ] {
        assert!(variables.lines().any(|variable| variable == line), "{line} is not in {variables}");
    }
}

#[tokio::test]
async fn a_stop_that_fails_is_tried_again_and_an_older_one_never_reaches_the_command() {
    let script =
        "#!/bin/sh\necho stop >> \"$NOTES/stops\"\n[ -e \"$NOTES/may\" ] || exit 1\necho '{\"ok\":true}'\n";
    let stage = Stage::with(&[("stop", script)], CustomTimeouts::default()).await;
    stage.start().await.unwrap();
    assert_eq!(stage.stop(5).await.unwrap_err().kind, PortErrorKind::Failed);
    assert_eq!(stage.stop(4).await.unwrap_err().kind, PortErrorKind::Fenced);
    let notes = stage.world.home.path();
    assert_eq!(fs::read_to_string(notes.join("stops")).unwrap().lines().count(), 1);
    fs::write(notes.join("may"), "").unwrap();
    stage.stop(5).await.unwrap();
    assert!(!notes.join("custom/production/blue-1").exists(), "its directory goes with it");
}

#[tokio::test]
async fn a_damaged_book_is_not_taken_for_an_empty_one() {
    let stage = Stage::starting_by(NOTHING).await;
    stage.start().await.unwrap();
    let book = stage.world.home.path().join("custom.json");
    fs::write(&book, "{").unwrap();
    let error = stage.start().await.unwrap_err();
    assert!(error.message.contains("custom.json cannot be used"), "{error}");
    assert_eq!(fs::read_to_string(&book).unwrap(), "{");
}
