//! The tree of a tag or commit, by means of the `git` command and its `archive`.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, Result};

use super::tree::TreeWriter;
use super::{error, tarball};

/// Which commit it was, and when that was made, as far as git says so.
pub(super) struct Commit {
    pub id: String,
    pub at: Option<Timestamp>,
}

/// Unpacks `reference` of `repository` and says which commit that was. A remote repository is cloned into `scratch`.
pub(super) fn unpack(
    repository: &str,
    reference: &str,
    scratch: &Path,
    tree: &mut TreeWriter,
) -> Result<Commit> {
    if reference.is_empty() || reference.starts_with('-') || reference.contains('\0') {
        return Err(error::git(format!("`{reference}` is not a git ref")));
    }
    if repository.is_empty() || repository.starts_with('-') || repository.contains('\0') {
        return Err(error::git(format!("`{repository}` is not a git repository")));
    }
    if Path::new(repository).exists() {
        return archive(Path::new(repository), repository, reference, tree);
    }
    let clone = run(git().args(["clone", "--quiet", "--bare", "--", repository]).arg(scratch))?;
    if !clone.status.success() {
        return Err(failed(format!("git cannot clone {repository}"), &clone));
    }
    archive(scratch, repository, reference, tree)
}

fn archive(directory: &Path, repository: &str, reference: &str, tree: &mut TreeWriter) -> Result<Commit> {
    let commit = resolve(directory, repository, reference)?;
    let mut child = git()
        .arg("-C")
        .arg(directory)
        .args(["archive", "--format=tar", &commit])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_git)?;
    let stream = child.stdout.take().ok_or_else(|| Error::bug("git has no output"))?;
    let unpacked = tarball::unpack(stream, tree);
    if unpacked.is_err() {
        // It may still be writing; what it has to say is then of no interest.
        let _ = child.kill();
    }
    let mut said = String::new();
    let _ = child.stderr.take().map(|mut stream| stream.read_to_string(&mut said));
    let status = child.wait().map_err(no_git)?;
    unpacked?;
    if status.success() {
        return Ok(Commit { at: committed_at(directory, &commit), id: commit });
    }
    Err(error::git(format!("git cannot archive {reference} of {repository}: {}", said.trim())))
}

fn committed_at(directory: &Path, commit: &str) -> Option<Timestamp> {
    let shown =
        run(git().arg("-C").arg(directory).args(["show", "--no-patch", "--format=%cI", commit])).ok()?;
    String::from_utf8_lossy(&shown.stdout).trim().parse().ok()
}

fn resolve(directory: &Path, repository: &str, reference: &str) -> Result<String> {
    let name = format!("{reference}^{{commit}}");
    let found = run(git().arg("-C").arg(directory).args([
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &name,
    ]))?;
    let commit = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if found.status.success() && !commit.is_empty() {
        return Ok(commit);
    }
    let tags = run(git().arg("-C").arg(directory).args(["tag", "--list"]))?;
    if !tags.status.success() {
        return Err(failed(format!("{repository} is not a git repository that can be read"), &tags));
    }
    let names: Vec<String> = String::from_utf8_lossy(&tags.stdout).lines().map(str::to_owned).collect();
    let missing = error::git(format!("git repository {repository} has no tag or commit `{reference}`"));
    Err(match error::nearest(reference, names) {
        near if near.is_empty() => missing.hint(format!("it has no tags; make one: git tag {reference}")),
        near => missing.hint(format!("nearest tags: {}", near.join(", "))),
    })
}

/// `git`, asking nobody, and not led elsewhere by the variables that git gives to its hooks.
fn git() -> Command {
    let mut command = Command::new("git");
    command.stdin(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> Result<Output> {
    command.output().map_err(no_git)
}

fn no_git(cause: std::io::Error) -> Error {
    error::git("the command `git` cannot be run")
        .source(cause)
        .hint("install git, or deploy an archive instead")
}

fn failed(message: String, output: &Output) -> Error {
    error::git(format!("{message}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
