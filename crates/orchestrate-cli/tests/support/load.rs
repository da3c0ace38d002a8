//! A few users who never stop asking, and count what they were answered.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    users: Vec<JoinHandle<Report>>,
}

/// What the users saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers with status 200, by what they said.
    pub served: BTreeMap<String, u64>,
    pub failed: Vec<String>,
}

impl Load {
    /// Returns once each of the users has been answered.
    pub fn start(address: SocketAddr, path: &'static str, users: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let spawn = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || ask(address, path, &stop, &answered))
        };
        let users: Vec<_> = (0..users).map(spawn).collect();
        let load = Self { stop, answered, users };
        load.await_more(2 * load.users.len() as u64);
        load
    }

    /// Returns once so many more requests were answered.
    #[track_caller]
    pub fn await_more(&self, count: u64) {
        let from = self.answered.load(Ordering::Relaxed);
        super::until("more requests are answered", || {
            (self.answered.load(Ordering::Relaxed) >= from + count).then_some(())
        });
    }

    pub fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for user in self.users {
            let report = user.join().unwrap();
            all.failed.extend(report.failed);
            report.served.into_iter().for_each(|(what, count)| *all.served.entry(what).or_default() += count);
        }
        all
    }
}

/// One user, with a connection that is kept as long as the other side keeps it.
fn ask(address: SocketAddr, path: &str, stop: &AtomicBool, answered: &AtomicU64) -> Report {
    let (mut report, mut kept) = (Report::default(), None);
    while !stop.load(Ordering::Relaxed) {
        match one(&mut kept, address, path) {
            Ok((200, body)) => *report.served.entry(body.trim().to_owned()).or_default() += 1,
            Ok((status, body)) => report.failed.push(format!("{status}: {body}")),
            Err(error) => {
                report.failed.push(error.to_string());
                kept = None;
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    report
}

fn one(
    kept: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(super::PATIENCE))?;
            BufReader::new(stream)
        }
    };
    write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    let (mut status, mut length, mut keep) = (0, 0, true);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", "close")) => keep = false,
            None if line.is_empty() => break,
            None => status = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if keep {
        *kept = Some(stream);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
