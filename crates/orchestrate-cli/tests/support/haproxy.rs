//! An HAProxy of a person's, in front of a scene: Debian's, as docs/haproxy.md sets it up.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::{Scene, until};

pub struct Haproxy {
    directory: TempDir,
    program: Option<Child>,
}

impl Haproxy {
    /// Listens where the scene's users come, and is written into its config file.
    pub fn before(scene: &mut Scene, keeps_state: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(
            path("haproxy.cfg"),
            config(scene.address, &path("admin.sock"), keeps_state.then(|| path("state"))),
        )
        .unwrap();
        scene.configure(|production| {
            production["router"] = json!({ "haproxy": path("admin.sock"), "backends": { "web": "shop" } });
            if keeps_state {
                production["router"]["state_file"] = json!(path("state"));
            }
        });
        let mut haproxy = Self { directory, program: None };
        haproxy.run();
        haproxy
    }

    pub fn run(&mut self) {
        let path = |name: &str| self.directory.path().join(name);
        let log = fs::File::options().create(true).append(true).open(path("log")).unwrap();
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(path("haproxy.cfg")).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.program = Some(command.spawn().expect("haproxy; scripts/install-test-tools installs it"));
        until("haproxy answers", || UnixStream::connect(path("admin.sock")).ok());
    }

    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }

    pub fn edit(&mut self, from: &str, to: &str) {
        let path = self.directory.path().join("haproxy.cfg");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
        self.kill();
        self.run();
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- haproxy\n{}",
                fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
        }
    }
}

fn config(listen: SocketAddr, socket: &str, state: Option<String>) -> String {
    let (file, load) = match state {
        Some(path) => (format!("    server-state-file {path}\n"), "    load-server-state-from-file global\n"),
        None => (String::new(), ""),
    };
    format!(
        "global\n    stats socket {socket} mode 600 level admin\n{file}\
         defaults\n    mode http\n    timeout connect 2s\n    timeout client 1m\n    timeout server 1m\n    \
         timeout check 2s\n    retries 3\n    option redispatch 1\n{load}\
         frontend shop\n    bind {listen}\n    default_backend shop\n\
         backend shop\n    balance roundrobin\n    option httpchk GET /healthz\n    \
         default-server check inter 200ms fall 3 rise 1\n    \
         http-request set-var(txn.prove) req.hdr(orchestrate-prove)\n    \
         http-response set-header orchestrate-server %s if {{ var(txn.prove) -m found }}\n    \
         server-template blue 1-10 127.0.0.1:1 disabled\n    server-template green 1-10 127.0.0.1:1 disabled\n"
    )
}
