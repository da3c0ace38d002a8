//! Zip archives. Sizes in their directory are claims; what counts is what comes out.

use std::fs::File;
use std::io::{self, BufReader, Read as _};

use orchestrate_core::Result;
use zip::ZipArchive;
use zip::result::ZipError;

use super::error;
use super::tree::TreeWriter;

const KIND: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LONGEST_TARGET: u64 = 4096;

pub(super) fn unpack(packed: File, tree: &mut TreeWriter) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(packed)).map_err(|cause| broken(tree, cause))?;
    if archive.len() > tree.limits.entries {
        return Err(error::too_large(&tree.origin, &format!("{} files", tree.limits.entries)));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|cause| broken(tree, cause))?;
        let name = entry.name_raw().to_vec();
        // Without unix modes the upper half is zero: then only the name tells what it is.
        let mode = entry.unix_mode().unwrap_or(0);
        match mode & KIND {
            SYMLINK => {
                let mut target = Vec::new();
                (&mut entry)
                    .take(LONGEST_TARGET)
                    .read_to_end(&mut target)
                    .map_err(|cause| tree.broken(&cause))?;
                tree.symlink(&name, &target)?;
            }
            _ if name.ends_with(b"/") => tree.directory(&name)?,
            DIRECTORY => tree.directory(&name)?,
            0 | REGULAR => tree.file(&name, mode & 0o111 != 0, &mut entry)?,
            _ => return Err(tree.special(&name)),
        }
    }
    Ok(())
}

fn broken(tree: &TreeWriter, cause: ZipError) -> orchestrate_core::Error {
    match cause {
        ZipError::Io(cause) => tree.broken(&cause),
        ZipError::UnsupportedArchive(what) => error::unusable(&tree.origin, what),
        other => tree.broken(&io::Error::other(other.to_string())),
    }
}
