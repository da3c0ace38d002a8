//! Directories and single files, as they lie on the disk.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use orchestrate_core::Result;

use super::error;
use super::tree::TreeWriter;

/// Copies all that is below `source`; links are copied as links.
pub(super) fn copy(source: &Path, tree: &mut TreeWriter) -> Result<()> {
    let mut ahead = vec![source.to_path_buf()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).map_err(|cause| error::unreadable(&directory, cause))? {
            let path = entry.map_err(|cause| error::unreadable(&directory, cause))?.path();
            let about = fs::symlink_metadata(&path).map_err(|cause| error::unreadable(&path, cause))?;
            let name = path.strip_prefix(source).unwrap_or(&path).as_os_str().as_bytes().to_vec();
            if about.is_dir() {
                tree.directory(&name)?;
                ahead.push(path);
            } else if about.is_symlink() {
                let target = fs::read_link(&path).map_err(|cause| error::unreadable(&path, cause))?;
                tree.symlink(&name, target.as_os_str().as_bytes())?;
            } else if about.is_file() {
                let mut content = File::open(&path).map_err(|cause| error::unreadable(&path, cause))?;
                tree.file(&name, about.permissions().mode() & 0o111 != 0, &mut content)?;
            } else {
                return Err(tree.special(&name));
            }
        }
    }
    Ok(())
}

/// A tree of one file, which is made executable.
pub(super) fn copy_executable(path: &Path, tree: &mut TreeWriter) -> Result<()> {
    let name = path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec();
    let mut content = File::open(path).map_err(|cause| error::unreadable(path, cause))?;
    tree.file(&name, true, &mut content)
}
