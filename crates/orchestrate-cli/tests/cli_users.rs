//! Instances as another user: what they may do, what they cannot reach, and that all of it comes back with a rollback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;
use support::{Scene, until};

/// `nobody` of Debian and of most others.
const NOBODY: u32 = 65534;

/// Looks around as an instance that was taken over would, says what it found, and stays.
const PROBE: &str = r#"
echo "ids $(id -u) $(id -g) $(id -G)"
echo "surroundings home=$HOME user=$USER"
sed -n 's/^NoNewPrivs:[^0-9]*/NoNewPrivs /p' /proc/self/status
sed -n 's/^Max open files *\([0-9]*\) *\([0-9]*\).*/files \1 \2/p; s/^Max processes *\([0-9]*\).*/processes \1/p' /proc/self/limits
python3 -c 'bytearray(400 << 20)' 2>&1 | sed -n 's/^MemoryError.*/no memory/p'
ls "$PLACE" 2>/dev/null && echo "GOT IN"
for name in key orchestrate.db daemon.sock proxy.sock instances.json daemon.log; do
    cat "$PLACE/$name" 2>/dev/null && echo "READ $name"
    echo x 2>/dev/null > "$PLACE/$name" && echo "WROTE $name"
    rm "$PLACE/$name" 2>/dev/null && echo "REMOVED $name"
    perl -MIO::Socket::UNIX -e 'exit(IO::Socket::UNIX->new(Peer => $ARGV[0]) ? 0 : 1)' "$PLACE/$name" && echo "REACHED $name"
done
echo mine > written && echo "its own directory is writable"
echo "again" >> /dev/stdout
echo "looked around"
exec sleep 1000
"#;

fn scene() -> Scene {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can run a service as another user: run this test as root"
    );
    let mut scene = Scene::new();
    // The home's own protection is what is tested, not that of the directory above it.
    fs::set_permissions(scene.home.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let (outside, place) = (scene.home.with_file_name("outside"), scene.home.display().to_string());
    scene.variable("ORCHESTRATE_RUN_DIR", outside.to_str().unwrap());
    scene.configure(|production| {
        *production = json!({
            "processes": { "work": { "command": ["./probe", "; touch /tmp/no", "$(id)"], "stop_timeout": null } },
            "strategy": { "type": "recreate" },
            "stop_timeout": "3s",
            "variables": { "PLACE": place },
            "user": "nobody",
            "limits": { "memory": "256MiB", "files": 123, "processes": 4000 },
        });
        production["processes"]["work"].as_object_mut().unwrap().remove("stop_timeout");
    });
    scene
}

fn deploy(scene: &Scene, version: &str) -> support::Ran {
    scene.script(&format!("dist/{version}/probe"), &format!("# {version}\n{PROBE}"));
    scene.typed(&format!("deploy --env production --version {version}"))
}

fn output(scene: &Scene, version: &str, process: &str) -> String {
    fs::read_to_string(scene.home.join(format!("logs/production/{version}/{process}.1.log")))
        .unwrap_or_default()
}

/// What the probe of a version said once it was through.
fn found(scene: &Scene, version: &str) -> String {
    until("the probe looked around", || {
        let text = output(scene, version, "work");
        text.contains("looked around").then_some(text)
    })
}

/// The pid of the one instance, and as whom it runs.
fn instance(scene: &Scene) -> (u32, u32) {
    let sleeping =
        |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"));
    until("the instance runs", || {
        let pid = scene.processes().into_iter().find(sleeping)?;
        Some((pid, fs::metadata(format!("/proc/{pid}")).ok()?.uid()))
    })
}

#[test]
fn it_is_another_user_within_limits_and_has_no_way_into_the_home() {
    let scene = scene();
    deploy(&scene, "1.0.0").ok();
    let found = found(&scene, "1.0.0");
    for line in [
        &format!("ids {NOBODY} {NOBODY} {NOBODY}"),
        "surroundings home=/nonexistent user=nobody",
        "NoNewPrivs 1",
        "files 123 123",
        "processes 4000",
        "no memory",
        "its own directory is writable",
        "again",
    ] {
        assert!(found.lines().any(|found| found == line), "not said: {line}\n{found}");
    }
    for word in ["GOT IN", "READ", "WROTE", "REMOVED", "REACHED"] {
        assert!(!found.contains(word), "{found}");
    }
    assert_eq!(fs::metadata(&scene.home).unwrap().mode() & 0o777, 0o700);
    let (_, uid) = instance(&scene);
    assert_eq!(uid, NOBODY);
    let outside = scene.home.with_file_name("outside");
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o711);
    scene.typed("env stop production --yes").ok();
    assert_eq!(left(&outside), 0, "its directory goes with it");
}

#[test]
fn a_killed_daemon_finds_it_again_and_a_rollback_brings_its_user_back() {
    let mut scene = scene();
    deploy(&scene, "1.0.0").ok();
    found(&scene, "1.0.0");
    let before = instance(&scene);
    let daemon = scene.json("daemon status").ok().json()["daemon"]["pid"].as_u64().unwrap();
    let daemon = rustix::process::Pid::from_raw(i32::try_from(daemon).unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
    scene.typed("daemon start").ok();
    scene.typed("env check production").ok();
    assert_eq!(instance(&scene), before, "the same process, still as nobody");

    scene.configure(|production| {
        for key in ["user", "limits"] {
            production.as_object_mut().unwrap().remove(key);
        }
        // As root the probe would find a way in.
        production["variables"]["PLACE"] = json!("/nonexistent");
    });
    deploy(&scene, "1.1.0").ok();
    assert_eq!(instance(&scene).1, 0);
    let plan = scene.typed("deploy rollback --env production --force --dry-run").ok();
    assert!(plan.stdout.contains("confinement.user") && plan.stdout.contains("nobody"), "{plan:?}");
    scene.rollback().ok();
    assert_eq!(instance(&scene).1, NOBODY);
}

#[test]
fn hooks_and_smoke_tests_are_run_as_that_user() {
    let mut scene = scene();
    scene.configure(|production| {
        let who = json!(["sh", "-c", "id -u; ulimit -n"]);
        production["hooks"] = json!({ "pre_deploy": { "command": who } });
        production["verify"] = json!({ "bake": "1s", "smoke": [{ "name": "who", "command": who }] });
    });
    deploy(&scene, "1.0.0").ok();
    let logs = scene.home.join("logs/production/1.0.0");
    until("the hook and the smoke test said who they are", || {
        let names = fs::read_dir(&logs).unwrap().flatten().map(|entry| entry.path());
        let others = names.filter(|path| !path.ends_with("work.1.log"));
        let said: Vec<String> = others.filter_map(|path| fs::read_to_string(path).ok()).collect();
        (said.len() == 2 && said.iter().all(|said| said.starts_with(&format!("{NOBODY}\n123\n"))))
            .then_some(())
    });
}

#[test]
fn a_user_that_is_not_here_is_refused_and_nothing_is_touched() {
    let mut scene = scene();
    deploy(&scene, "1.0.0").ok();
    let before = instance(&scene);
    scene.configure(|production| production["user"] = json!("no_such_user"));
    let refused = deploy(&scene, "1.1.0");
    assert_ne!(refused.status, 0);
    refused.says("there is no user `no_such_user` on this machine");
    assert_eq!(instance(&scene), before);
    for wrong in ["root", "0:0", "Sho p"] {
        scene.configure(|production| production["user"] = json!(wrong));
        deploy(&scene, "1.2.0").ends(2);
    }
}

/// A command that is a list is run as it stands: no shell reads it.
#[test]
fn no_shell_reads_a_command_that_is_a_list() {
    let scene = scene();
    scene.script("dist/1.0.0/probe", "printf '<%s>' \"$@\"; echo; echo looked around; exec sleep 1000");
    scene.typed("deploy --env production --version 1.0.0").ok();
    assert!(found(&scene, "1.0.0").starts_with("<; touch /tmp/no><$(id)>\n"));
    assert!(!Path::new("/tmp/no").exists());
}

/// The files and directories below the directories of homes and environments.
fn left(outside: &Path) -> usize {
    let below = |path: &Path| {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    below(outside).iter().flat_map(|home| below(home)).flat_map(|environment| below(&environment)).count()
}
