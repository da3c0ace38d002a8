//! Which process holds the write lock of an SQLite file, as the kernel tells: a lock that stays is worth nothing to know
//! without who has it. One that was stopped (SIGSTOP, a suspended terminal) in the middle of a write keeps it until it is
//! woken or ended, and nothing but that can take it from it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes of the `-shm` file that who writes, copies back or recovers locks; fixed by SQLite's file format.
const WAL_LOCKS: std::ops::RangeInclusive<u64> = 120..=122;
/// Where the locks of the database file itself begin.
const FILE_LOCKS: u64 = 0x4000_0000;

/// The process that has the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locker {
    pub pid: u32,
    name: String,
    pub is_stopped: bool,
}

impl fmt::Display for Locker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// None where nobody has it any more, or the kernel does not tell.
pub(crate) fn find(database: &Path) -> Option<Locker> {
    let mut shared = database.as_os_str().to_owned();
    shared.push("-shm");
    let inode = |path: &Path| fs::metadata(path).ok().map(|about| about.ino());
    let (file, shared) = (inode(database), inode(Path::new(&shared)));
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().filter_map(Lock::read).find(|lock| {
        let of = Some(lock.inode);
        lock.pid != std::process::id()
            && ((of == shared && WAL_LOCKS.contains(&lock.from)) || (of == file && lock.from >= FILE_LOCKS))
    });
    pid.map(|lock| look_at(lock.pid))
}

/// A line such as `3: POSIX  ADVISORY  WRITE 4711 fe:00:131075 120 120`.
struct Lock {
    pid: u32,
    inode: u64,
    from: u64,
}

impl Lock {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "WRITE").skip(1);
        let (pid, file, from) = (words.next()?, words.next()?, words.next()?);
        let inode = file.rsplit(':').next()?;
        Some(Self { pid: pid.parse().ok()?, inode: inode.parse().ok()?, from: from.parse().ok()? })
    }
}

fn look_at(pid: u32) -> Locker {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let name = read("comm").trim().chars().filter(|c| !c.is_control()).collect();
    // After the name, which is in brackets and may hold anything: `T` stopped, `t` held by a debugger.
    let is_stopped = read("stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']));
    Locker { pid, name, is_stopped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_the_kernel_writes_it() {
        let lock = Lock::read("3: POSIX  ADVISORY  WRITE 4711 fe:00:131075 120 120").unwrap();
        assert_eq!((lock.pid, lock.inode, lock.from), (4711, 131_075, 120));
        assert!(Lock::read("4: POSIX  ADVISORY  READ  4711 fe:00:131075 124 124").is_none());
        assert!(Lock::read("1: OFDLCK ADVISORY  WRITE -1 fe:00:131075 0 EOF").is_none(), "nobody to name");
    }

    #[test]
    fn where_nobody_has_a_lock_nobody_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        assert_eq!(find(&path), None);
        fs::write(&path, "").unwrap();
        assert_eq!(find(&path), None);
    }
}
