//! Types every line of docs/tutorial.md in an empty directory with an empty home, and compares what comes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::Running;
use support::scene::{PROGRAM, free_address};

const TUTORIAL: &str = include_str!("../../../docs/tutorial.md");
/// The heading of the part that has a directory and a service of its own.
const NGINX: &str = "## The same with nginx";
/// The address that the page uses, in place of which the test takes one that is free.
const ADDRESS: &str = "127.0.0.1:8080";

#[test]
fn the_first_part_works_as_it_is_written() {
    let (first, _) = TUTORIAL.split_once(NGINX).unwrap();
    assert!(Reader::new().follows(first) > 30);
}

#[test]
fn the_part_with_nginx_works_as_it_is_written() {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).chain(["/usr/sbin".into()]).any(|path| path.join("nginx").exists())
    });
    assert!(found, "nginx is not installed: run `make test`, which installs it");
    let (_, second) = TUTORIAL.split_once(NGINX).unwrap();
    assert!(Reader::new().follows(second) > 10);
}

/// A person with a terminal, who does what the page says.
struct Reader {
    directory: tempfile::TempDir,
    /// Where the terminal is.
    at: PathBuf,
    address: String,
}

impl Reader {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("work");
        fs::create_dir(&at).unwrap();
        Self { directory, at, address: free_address().to_string() }
    }

    /// Returns how many lines were typed.
    #[track_caller]
    fn follows(&mut self, page: &str) -> usize {
        let (mut typed, mut lines) = (0, page.lines());
        while let Some(line) = lines.next() {
            let Some(about) = line.strip_prefix("```") else { continue };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = block.join("\n").replace(ADDRESS, &self.address);
            match about.split_once(' ') {
                Some((_, file)) => fs::write(self.at.join(file), text + "\n").unwrap(),
                None => {
                    assert_eq!(about, "console", "a block says what it is");
                    typed += self.types(&text);
                }
            }
        }
        typed
    }

    #[track_caller]
    fn types(&mut self, block: &str) -> usize {
        let mut typed = 0;
        for part in format!("\n{block}").split("\n$ ").skip(1) {
            let (line, expected) = part.split_once('\n').unwrap_or((part, ""));
            let (status, found) = self.enter(line);
            assert!(is_like(&found, expected), "$ {line}\n{found}\n--- but the page says\n{expected}");
            let is_refusal = expected.contains("error: ");
            assert_eq!(status == 0, !is_refusal, "$ {line}\n{found}\nended with {status}");
            typed += 1;
        }
        typed
    }

    /// One line in a shell that stays where the one before went; both outputs as they come.
    fn enter(&mut self, line: &str) -> (i32, String) {
        let place = self.directory.path().join("place");
        let script = format!("exec 2>&1; {line}\nstatus=$?; pwd > '{}'; exit $status", place.display());
        let ran = Running::start(self.shell().args(["-c", &script]).current_dir(&self.at)).end();
        if let Ok(now) = fs::read_to_string(&place) {
            self.at = PathBuf::from(now.trim_end());
        }
        (ran.status, ran.stdout)
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ORCHESTRATE_")) {
            shell.env_remove(name);
        }
        let given = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{given}:/usr/sbin", Path::new(PROGRAM).parent().unwrap().display());
        shell.env("PATH", path).env("HOME", self.directory.path().join("home")).env_remove("XDG_STATE_HOME");
        for role in ["AUTHOR", "COMMITTER"] {
            shell
                .env(format!("GIT_{role}_NAME"), "Reader")
                .env(format!("GIT_{role}_EMAIL"), "reader@example.org");
        }
        shell
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Also where the page was left in the middle, nothing stays behind.
        if self.directory.path().join("home").exists() {
            let stop = ["-c", "orchestrate daemon stop --all"];
            let _ = self.shell().args(stop).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Compares line by line; `…` stands for any text in a line, and for any lines where it stands alone.
fn is_like(found: &str, expected: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    lines_like(&lines(found), &lines(expected))
}

fn lines_like(found: &[String], expected: &[String]) -> bool {
    match (found, expected) {
        ([], []) => true,
        (_, [any, rest @ ..]) if any == "…" => {
            (0..=found.len()).any(|skip| lines_like(&found[skip..], rest))
        }
        ([one, found @ ..], [wanted, expected @ ..]) => line_like(one, wanted) && lines_like(found, expected),
        _ => false,
    }
}

fn line_like(found: &str, expected: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return found == expected };
    let Some(found) = found.strip_prefix(start) else { return false };
    let ends = found.char_indices().map(|(at, _)| at).chain([found.len()]);
    ends.into_iter().any(|at| line_like(&found[at..], rest))
}

#[test]
fn likeness_is_neither_blind_nor_pedantic() {
    assert!(is_like("took 12 ms\n", "took …"));
    assert!(is_like("a   b\n", "a b"));
    assert!(is_like("a\nb\nc\n", "a\n…\nc"));
    assert!(is_like("a\nc", "a\n…\nc"));
    assert!(!is_like("a\nb\nc", "a\nc"));
    assert!(!is_like("failed in 3 ms", "done in …"));
    assert!(!is_like("", "a"));
    assert!(!is_like("a", ""));
}
