//! One proxy takes over from another while both serve: the heir has the same sockets, the same table and the same token
//! before the elder takes its last connection.
//!
//! 1. The heir asks the elder to *yield*. The elder lets changes wait, writes its state down, and lets go of it.
//! 2. The heir takes the state and copies of the sockets, and begins to serve beside the elder.
//! 3. The heir tells the elder to *retire*, which closes its sockets and finishes what it has under way.
//!
//! All of it is one conversation. Where the heir dies, the elder hears the end of it, takes its state back, and goes on;
//! where the elder dies, the heir has everything already. Nobody else has a part in it.

mod elder;
mod elders;
mod heir;
mod tenure;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub(crate) use elder::{Retired, yield_to};
pub(crate) use elders::Elders;
pub(crate) use heir::Heir;
pub(crate) use tenure::Tenure;

use crate::protocol::LINE;

/// A connection on which lines are exchanged.
pub(crate) type Conversation = BufReader<UnixStream>;

/// Where a proxy that has retired is reached by its heirs, given where it was reached before.
pub(crate) fn retired_socket(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(format!("{RETIRED}{}", std::process::id()));
    PathBuf::from(name)
}

const RETIRED: &str = ".retired-";

async fn say<T: Serialize>(conversation: &mut Conversation, what: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    conversation.write_all(&line).await
}

async fn hear<T: DeserializeOwned>(conversation: &mut Conversation) -> io::Result<T> {
    let mut line = Vec::new();
    conversation.take(LINE).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
