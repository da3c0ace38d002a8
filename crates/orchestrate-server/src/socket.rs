//! Sockets in the home, usable by their owner only, however long the home's path is.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use orchestrate_core::{Error, Result};
use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};

/// Longest path that fits a socket's address.
const LONGEST: usize = 107;

/// A path that fits a socket's address: long ones go through the opened directory, which must stay open meanwhile.
pub struct SocketPath {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl SocketPath {
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let directory =
            rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

/// Connects to a socket, however long its path is.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = SocketPath::new(path)?;
    UnixStream::connect(short.as_path()).await
}

pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    let bound = remove_stale(path).and_then(|()| {
        let short = SocketPath::new(path)?;
        let listener = UnixListener::bind(short.as_path())?;
        only_owner(path)?;
        Ok(listener)
    });
    bound.map_err(|error| cannot(path, error))
}

pub(crate) fn datagrams(path: &Path) -> Result<UnixDatagram> {
    let bound = remove_stale(path).and_then(|()| {
        let short = SocketPath::new(path)?;
        let socket = UnixDatagram::bind(short.as_path())?;
        only_owner(path)?;
        Ok(socket)
    });
    bound.map_err(|error| cannot(path, error))
}

/// The daemon holds its lock by now, so a socket that is there belongs to nobody.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn only_owner(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

fn cannot(path: &Path, error: io::Error) -> Error {
    Error::failed("ORC-0501", format!("the socket {} cannot be opened", path.display()))
        .hint("check that the home is yours, writable and on a local disk")
        .source(error)
}
