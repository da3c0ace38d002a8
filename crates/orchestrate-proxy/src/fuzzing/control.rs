//! Whatever comes in at the control socket, which the proxy's own user can write to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::keep_on_loopback;
use crate::control::converse;
use crate::data::Shared;
use crate::options::Limits;
use crate::protocol::{Held, Reply, Request};
use crate::registry::Registry;
use crate::saved::{Saved, Saver, load};

/// The lines of one connection. Every line must be answered by one that a client understands, and the state that is written
/// down in the end must be readable.
pub fn control(input: &[u8]) {
    let _ = serde_json::from_slice::<Held>(input);
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("proxy.json");
    let (lines, sent) = lines(input);
    runtime().block_on(async {
        let registry = registry(&state, Saved::default());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (orders, _inbox) = mpsc::unbounded_channel();
        let (conversation, answers) = tokio::join!(converse(theirs, &registry, &orders), ask(ours, &lines));
        assert!(conversation.is_ok() || sent.contains(&true), "{conversation:?}");
        let replies: Vec<&[u8]> = answers.split_inclusive(|byte| *byte == b'\n').collect();
        if !sent.contains(&true) {
            assert_eq!(replies.len(), sent.len());
            replies.iter().for_each(|reply| drop(serde_json::from_slice::<Reply>(reply).unwrap()));
        }
        registry.persisted().await.unwrap();
    });
    let (_, set_aside) = load(&state).unwrap();
    assert_eq!(set_aside, None, "what was written cannot be read");
}

/// The lines as they may be sent, and for each whether it gives the connection away to a holder of sockets.
fn lines(input: &[u8]) -> (Vec<u8>, Vec<bool>) {
    let (mut lines, mut holds) = (Vec::new(), Vec::new());
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let request = serde_json::from_slice::<Request>(line);
        holds.push(matches!(request, Ok(Request::Hold)));
        match request {
            Ok(Request::Register(mut register)) => {
                keep_on_loopback(&mut register.backends);
                lines.extend(serde_json::to_vec(&Request::Register(register)).unwrap());
                lines.push(b'\n');
            }
            _ => lines.extend_from_slice(line),
        }
    }
    (lines, holds)
}

async fn ask(mut stream: UnixStream, lines: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let mut answers = Vec::new();
    let writing = async {
        // Who gave the connection to a holder hears no more.
        let _ = write.write_all(lines).await;
        let _ = write.shutdown().await;
    };
    let (_, read) = tokio::join!(writing, read.read_to_end(&mut answers));
    drop(read);
    answers
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The real one, without workers.
pub(super) fn registry(state: &Path, saved: Saved) -> Registry {
    let shared = Shared { limits: Limits::default(), threads: 1, token: "f".repeat(32), version: "fuzzing" };
    let saver = Saver::start(state.to_owned()).unwrap();
    Registry::restore(Arc::new(shared), Vec::new(), saver, (saved, None), BTreeMap::new())
}
