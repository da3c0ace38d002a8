//! This program: its version and its file.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// In one piece, so that a program file can be asked for its version without being run.
static STAMP: &str = concat!("orchestrate program ", env!("CARGO_PKG_VERSION"));

pub fn version() -> &'static str {
    STAMP.strip_prefix("orchestrate program ").unwrap_or(STAMP)
}

/// The file of this program, to be started again; also after another one was put into its place.
pub fn path() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // The kernel keeps what runs, and only this path still leads to it.
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

/// Whether the process runs the same program file as this one. One that cannot be looked at is taken for the same.
pub fn is_run_by(pid: u32) -> bool {
    let file = |path: String| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (file(format!("/proc/{pid}/exe")), file("/proc/self/exe".to_owned())) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        (Err(_), _) | (_, Err(_)) => true,
    }
}
