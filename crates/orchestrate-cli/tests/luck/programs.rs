//! Other programs than the one that is tested: copies of it, which say another version where one is given.

use std::path::PathBuf;

use super::Scene;

const STAMP: &[u8] = concat!("orchestrate program ", env!("CARGO_PKG_VERSION")).as_bytes();

impl Scene {
    /// The same program in another file.
    pub fn copy(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::copy(&self.program, &path).unwrap();
        path
    }

    /// A program that says this version, which is as long as the real one.
    pub fn of_version(&self, version: &str) -> PathBuf {
        let path = self.copy(&format!("orchestrate-{version}"));
        let mut bytes = std::fs::read(&path).unwrap();
        let at: Vec<usize> = bytes
            .windows(STAMP.len())
            .enumerate()
            .filter(|(_, part)| *part == STAMP)
            .map(|one| one.0)
            .collect();
        assert!(!at.is_empty(), "the program does not say its version in one piece");
        for at in at {
            let end = at + STAMP.len();
            bytes[end - version.len()..end].copy_from_slice(version.as_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        path
    }
}
