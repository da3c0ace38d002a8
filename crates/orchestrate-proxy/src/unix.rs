//! Unix sockets for their owner's eyes only, at paths of any length.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// What fits into a Unix socket's address.
const LONGEST: usize = 107;

/// A path that fits: through the opened directory where the real one is too long. Valid while the directory is kept.
struct Reachable {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

fn reachable(path: &Path) -> io::Result<Reachable> {
    if path.as_os_str().len() <= LONGEST {
        return Ok(Reachable { path: path.to_owned(), _directory: None });
    }
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the path of the socket names no file");
    let name: &OsStr = path.file_name().ok_or_else(no_name)?;
    let parent = path.parent().ok_or_else(no_name)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok(Reachable { path, _directory: Some(directory) })
}

/// Listens at `path` in place of whatever socket is there; nobody can connect before only the owner can.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    // Made beside and put in its place in one step, so that whoever connects meets the old one or the new one.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let reachable = reachable(&beside)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&reachable.path)?)?;
    std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    socket.listen(128)?;
    std::fs::rename(&beside, path)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))
}

pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let reachable = reachable(path)?;
    UnixStream::connect(&reachable.path).await
}

/// Whether the other end may give orders: this user, or root.
pub(crate) fn may_command(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}
