//! A small disk of its own, that can be full or read-only. Needs the right to mount: these tests run as root.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

pub struct Disk {
    place: TempDir,
}

/// The same directory at another path, read-only there.
pub struct ReadOnlyView {
    place: TempDir,
}

impl Disk {
    pub fn new() -> Self {
        // A deployment wants 64 MiB to be free.
        let disk = Self { place: tempfile::tempdir().unwrap() };
        run("mount", &["-t", "tmpfs", "-o", "size=80m,mode=700", "luck"], &disk.place);
        disk
    }

    /// Where a home can be, as [`super::Scene::at`] takes it.
    pub fn home(&self) -> String {
        self.place.path().join("home").display().to_string()
    }

    fn filler(&self) -> PathBuf {
        self.place.path().join("filler")
    }

    /// Leaves so many bytes free, to the next page.
    pub fn fill_but(&self, free: u64) {
        let mut file = File::create(self.filler()).unwrap();
        for piece in [1 << 20, 1 << 12] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        let size = file.metadata().unwrap().len();
        let file = OpenOptions::new().write(true).open(self.filler()).unwrap();
        file.set_len(size.saturating_sub(free)).unwrap();
    }

    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    pub fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], &self.place);
    }

    pub fn read_only_view(&self) -> ReadOnlyView {
        let view = ReadOnlyView { place: tempfile::tempdir().unwrap() };
        run("mount", &["--bind", self.place.path().to_str().unwrap()], &view.place);
        run("mount", &["-o", "remount,bind,ro"], &view.place);
        view
    }
}

impl ReadOnlyView {
    pub fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.place);
    }
}

impl Drop for ReadOnlyView {
    fn drop(&mut self) {
        unmount(&self.place);
    }
}

fn unmount(place: &TempDir) {
    // Lazily, since a process that a failed test left may still be at home there.
    let _ = Command::new("umount").arg("--lazy").arg(place.path()).output();
}

fn run(program: &str, args: &[&str], place: &TempDir) {
    let output = Command::new(program).args(args).arg(place.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs the right to mount (run it as root): {said}");
}
