//! Our proxy and HAProxy, each in front of an instance that writes down what reaches it.

use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use orchestrate_core::ports::{Router, Switch};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Instance, Rig, eventually, free_address, switch, within};
use crate::strict::{End, Lines, Request, requests};

/// What one proxy made of a stream.
pub struct Outcome {
    /// The whole requests that reached the instance.
    pub passed: Vec<Request>,
    /// Of the final answers.
    pub statuses: Vec<u16>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |request: &Request| {
            let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
            format!("{method} {target} {:?}", request.body.escape_ascii().to_string())
        };
        write!(f, "{:?} passed {:?}", self.statuses, self.passed.iter().map(text).collect::<Vec<_>>())
    }
}

/// An instance that answers every request alike.
struct Recorder {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, passed) = (listener.local_addr().unwrap(), Arc::default());
        let theirs = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(record(tcp, Arc::clone(&theirs)));
            }
        });
        Self { address, passed }
    }
}

async fn record(mut tcp: TcpStream, passed: Arc<Mutex<Vec<Request>>>) {
    let (mut answered, mut bytes) = (0, Vec::new());
    while tcp.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let (found, end) = requests(&bytes, Lines::CrLf);
        for request in found.into_iter().filter(|request| request.whole).skip(answered) {
            answered += 1;
            let body = if request.method == b"HEAD" { "" } else { "ok" };
            // The health checks of our proxy are none of the client's requests.
            if request.target != b"/healthz" {
                passed.lock().unwrap().push(request);
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
            if tcp.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if matches!(end, End::Invalid(_)) {
            return;
        }
    }
}

pub struct Both {
    rig: Rig,
    ours: Recorder,
    theirs: Recorder,
    haproxy: HaProxy,
}

impl Both {
    pub async fn start() -> Self {
        let rig = Rig::with_limits(&["header_read=3000", "keep_alive=3000"]).await;
        let (ours, theirs) = (Recorder::start().await, Recorder::start().await);
        let mut registration = rig.registration(1, &[] as &[&Instance], 1);
        registration.backends[0].instances.insert("web-0".into(), ours.address);
        rig.router.register(&registration).await.unwrap();
        rig.router.switch(&Switch { needs: Default::default(), ..switch(1, 1) }).await.unwrap();
        let haproxy = HaProxy::start(theirs.address).await;
        Self { rig, ours, theirs, haproxy }
    }

    /// Ours, and HAProxy's.
    pub async fn outcomes(&self, stream: &[u8]) -> (Outcome, Outcome) {
        tokio::join!(
            outcome(self.rig.listen, stream, &self.ours),
            outcome(self.haproxy.address, stream, &self.theirs)
        )
    }
}

async fn outcome(proxy: SocketAddr, stream: &[u8], recorder: &Recorder) -> Outcome {
    let (seen, end) = requests(stream, Lines::LfToo);
    let wanted = seen.iter().filter(|request| request.whole).count();
    let mut tcp = TcpStream::connect(proxy).await.unwrap();
    let mut answers = Vec::new();
    let conversation = async {
        // A proxy may refuse before it has read everything.
        let _ = tcp.write_all(stream).await;
        // Where the last request is a part of something else, only the client's end shows that nothing more will come.
        let cut = end == End::Early;
        while !(cut && statuses(&answers).len() >= wanted)
            && tcp.read_buf(&mut answers).await.is_ok_and(|read| read > 0)
        {}
        let _ = tcp.shutdown().await;
        let _ = tcp.read_to_end(&mut answers).await;
    };
    within("the end of the connection", conversation).await;
    let passed = std::mem::take(&mut *recorder.passed.lock().unwrap());
    Outcome { passed, statuses: statuses(&answers) }
}

fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let found = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok());
    found.filter(|status| *status >= 200).collect()
}

/// The real one. It is a Debian package, which `scripts/install-test-tools` installs.
struct HaProxy {
    address: SocketAddr,
    child: Child,
    _home: TempDir,
}

impl HaProxy {
    async fn start(instance: SocketAddr) -> Self {
        let (home, address) = (TempDir::new().unwrap(), free_address());
        let config = home.path().join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 1\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 3s\n  timeout server 20s\n  \
             timeout http-request 3s\n  timeout http-keep-alive 3s\n\
             listen all\n  bind {address}\n  server one {instance}\n"
        );
        std::fs::write(&config, text).unwrap();
        let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let program = program.expect("haproxy is not installed: run scripts/install-test-tools");
        let child = Command::new(program)
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("HAProxy's start", async || TcpStream::connect(address).await.is_ok()).await;
        Self { address, child, _home: home }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
