//! What others get to see: another user of the machine, a program of the same user, a terminal, a reader of the database.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Scene, until};

const TOKEN: &str = "T0KEN-in-the-path-4711";

/// Says what `nobody` could do with a home.
const INTRUDER: &str = r#"
ls "$1" 2>/dev/null && echo "LISTED"
touch "$1/new" 2>/dev/null && echo "WROTE"
for name in key orchestrate.db orchestrate.db-wal daemon.log proxy.json instances.json; do
    cat "$1/$name" > /dev/null 2>&1 && echo "READ $name"
    mv "$1/$name" "$1/other" 2>/dev/null && echo "MOVED $name"
done
for name in daemon.sock proxy.sock wake.sock; do
    perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0); exit(connect($s, sockaddr_un($ARGV[0])) ? 0 : 1)' "$1/$name" && echo "REACHED $name"
    perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_DGRAM, 0); exit(connect($s, sockaddr_un($ARGV[0])) ? 0 : 1)' "$1/$name" && echo "RANG $name"
done
echo "tried"
"#;

fn as_nobody(scene: &Scene, script: &str) -> String {
    assert!(rustix::process::geteuid().is_root(), "only root can become another user: run this test as root");
    let mut command = Command::new("runuser");
    command.args(["-u", "nobody", "--", "sh", "-c", script, "sh"]).arg(&scene.home).current_dir("/");
    let output = command.stderr(Stdio::null()).output().expect("runuser is part of util-linux");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn another_user_gets_nothing_from_the_home() {
    let mut scene = Scene::new();
    scene.configure(|production| production["secrets"] = json!({ "DB_PASSWORD": "hunter2" }));
    scene.deploy("1.0.0").ok();
    let outer = scene.home.parent().unwrap().to_owned();
    fs::set_permissions(&outer, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(as_nobody(&scene, INTRUDER), "tried\n");
    // Even past the door, nothing stands open: files and sockets are closed each by itself.
    fs::set_permissions(&scene.home, fs::Permissions::from_mode(0o711)).unwrap();
    let inside = as_nobody(&scene, INTRUDER);
    fs::set_permissions(&scene.home, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(inside, "tried\n");
    scene.rollback();
    assert_eq!(scene.answers(), "1.0.0");
}

#[test]
fn a_home_behind_somebody_elses_link_is_refused() {
    assert!(rustix::process::geteuid().is_root(), "only root can make another's link: run this test as root");
    let mut scene = Scene::new();
    let (mine, link) = (scene.work.join("mine"), scene.work.join("link"));
    fs::create_dir(&mine).unwrap();
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&mine, &link).unwrap();
    let line = format!("--home {} env list", link.display());
    scene.typed(&line).ok();
    lchown(&link, Some(65534), Some(65534)).unwrap();
    scene.typed(&line).ends(1).says("[ORC-0205]").says("is a link that belongs to another user");
    // Nor is one used that lies where everybody may exchange it.
    let shared = scene.work.join("shared");
    fs::create_dir_all(shared.join("home")).unwrap();
    fs::set_permissions(shared.join("home"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!("--home {} env list", shared.join("home").display());
    scene.typed(&line).ends(1).says("[ORC-0205]").says("everybody may write to");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    scene.typed(&line).ok();
    scene.variable("ORCHESTRATE_ACTOR", "alice");
}

#[test]
fn nobody_looks_into_the_memory_of_our_processes() {
    let scene = Scene::new();
    scene.deploy("1.0.0").ok();
    let status = scene.json("daemon status").ok().json();
    for part in ["daemon", "proxy"] {
        let about = PathBuf::from(format!("/proc/{}", status[part]["pid"]));
        let limits = fs::read_to_string(about.join("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{part}: {core}");
        // A process whose memory may be looked into has a `mem` of its own user's, with a debugger's rights for that user.
        assert!(is_closed(&about), "{part}");
    }
    // The same for a command: one that waits.
    let watching = scene.begin(&["logs", "--env", "production", "-f"]);
    let about = PathBuf::from(format!("/proc/{}", watching.pid()));
    until("the command is closed", || is_closed(&about).then_some(()));
    watching.signal(rustix::process::Signal::TERM);
    watching.end();
}

/// Whether even its own user, without root's rights, is kept from its memory: asked of the kernel by a process that gave
/// those rights up.
fn is_closed(about: &Path) -> bool {
    let mut look = Command::new("setpriv");
    look.args(["--bounding-set=-all", "--inh-caps=-all", "head", "-c1"]).arg(about.join("environ"));
    !look.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn the_url_of_a_webhook_is_nowhere_in_clear() {
    let mut scene = Scene::new();
    let url = format!("http://127.0.0.1:9/services/{TOKEN}?user=bot");
    scene.config["notifications"] = json!([{ "type": "webhook", "url": "${HOOK_URL}" }]);
    scene.write_config();
    scene.variable("HOOK_URL", &url);
    scene.deploy("1.0.0").ok();
    scene.deploy("1.1.0").ok();
    scene.rollback().ok();
    for line in
        ["notify status", "notify status --format json", "env show production", "audit list --format json"]
    {
        let ran = scene.typed(line).ok();
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{line}: {ran:?}");
    }
    scene.typed("notify status").ok().prints("http://127.0.0.1:9/…");
    scene.typed("daemon stop").ok();
    for entry in fs::read_dir(&scene.home).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
    // Written into the file itself, it is not shown by an error on the line beside.
    scene.config["notifications"] = json!([{ "type": "webhook", "url": url, "on": ["never"] }]);
    scene.write_config();
    let ran = scene.typed("env apply").ends(2);
    assert!(!ran.stderr.contains(TOKEN), "{ran:?}");
    scene.write("orchestrate.yaml", &format!("service: s\nnotifications:\n  - url: {url}\n    on: [\n"));
    let ran = scene.typed("env apply").ends(2);
    assert!(!ran.stderr.contains(TOKEN), "{ran:?}");
}

/// What a terminal would obey, or show in another order than it is written.
const STEERING: &str = "a\u{1b}]0;owned\u{7}b\u{9b}31mc\u{202e}d\u{7f}e";

#[test]
fn nothing_that_is_printed_steers_a_terminal() {
    let mut scene = Scene::new();
    scene.configure(|production| production["variables"]["NOTE"] = json!(STEERING));
    // YAML takes these only as escapes.
    let text = fs::read_to_string(scene.work.join("orchestrate.yaml")).unwrap();
    let escaped = |c: char| {
        if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
    };
    scene.write("orchestrate.yaml", &text.chars().map(escaped).collect::<String>());
    scene.variable("ORCHESTRATE_ACTOR", STEERING);
    let reason = format!("--reason={STEERING}");
    let body = format!("printf '%s\\n' '{STEERING}'; exec '{}' sample-service", support::scene::PROGRAM);
    for version in ["1.0.0", "1.1.0"] {
        scene.script(&format!("dist/{version}/serve"), &format!("# {version}\n{body}"));
        clean(scene.run(&["deploy", "--env", "production", "--version", version, &reason, "-v"]).ok());
    }
    scene.script("dist/1.2.0/serve", &format!("printf '%s\\n' '{STEERING}' >&2; exit 7"));
    clean(scene.run(&["deploy", "--env", "production", "--version", "1.2.0"]).ends(3));
    clean(scene.run(&["deploy", "diff", "--env", "production", "--version", "1.2.0"]).ok());
    clean(scene.run(&["deploy", "rollback", "--env", "production", "--force", "--dry-run", &reason]).ok());
    clean(scene.run(&["deploy", "rollback", "--env", "production", "--force", "-v", &reason]).ok());
    clean(scene.run(&["deploy", "hold", "2.0.0", "--env", "production", &reason]));
    for line in [
        "deploy status --env production",
        "deploy history --env production",
        "deploy candidates --env production",
        "deploy rollbacks --env production",
        "deploy rollbacks show 1",
        "env list",
        "env show production",
        "env check production",
        "audit list",
        "logs --env production",
        "logs --env production --version 1.2.0",
        "notify status",
        "doctor",
        "secrets list --env production",
    ] {
        clean(scene.typed(line));
        clean(scene.json(line));
    }
    scene.write(&format!("dist/1.3.0/{}", STEERING.replace('/', "")), "x");
    clean(scene.run(&["deploy", "--env", "production", "--version", "1.3.0"]));
    clean(scene.run(&["deploy", "--env", STEERING, "--version", "1.3.0"]));
    clean(scene.run(&["deploy", "--env", "production", "--version", "1.4.0", "--artifact", STEERING]));
    scene.config["service"] = json!(STEERING);
    scene.config["environments"][STEERING] = json!({});
    scene.write_config();
    clean(scene.typed("env apply"));
}

#[track_caller]
fn clean(ran: support::Ran) {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || ('\u{202a}'..='\u{202e}').contains(&c);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(steers), "exit {}: {text:?}", ran.status);
    }
}
