//! Hooks: commands of a release that are run once in an operation. What came of each is kept in the home, so that who
//! asks again after a crash is told, and nothing is run twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orchestrate_core::failpoint;
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{
    Ended, ForgetHooks, HookRequest, OneOff, PortError, PortErrorKind, PortResult,
};
use serde::{Deserialize, Serialize};

use super::shared::{Shared, blocking};
use super::{book, one_off};

/// What is kept of one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// It was begun. If nobody runs it any more, it was cut off.
    Begun,
    Ended(PortResult<Ended>),
}

pub(super) async fn run(shared: &Arc<Shared>, request: &HookRequest) -> PortResult<Ended> {
    let placement = &request.placement;
    let file = file(&shared.home, request);
    // Who asks again while it runs waits for its end.
    let gate = shared.hook_gate(&file);
    let _turn = gate.lock().await;
    shared.accept_fence(&placement.environment, request.fence).await?;
    match read(&file)? {
        Some(Kept::Ended(result)) => return result,
        Some(Kept::Begun) => return keep(&file, Err(cut_off(request))),
        None => {}
    }
    let borrowed = borrow_directory(shared, request).await?;
    write(&file, &Kept::Begun)?;
    let result = failpoint!("hook/run", one_off::run(shared, &one_off_of(request)).await);
    if borrowed {
        give_back(shared, request).await;
    }
    keep(&file, result)
}

/// Removes what is kept of all others than the one that goes on.
pub(super) async fn forget(shared: &Arc<Shared>, request: &ForgetHooks) -> PortResult<()> {
    shared.accept_fence(&request.environment, request.fence).await?;
    forget_in(&shared.home, request).await
}

/// The same without asking for the fence.
pub(crate) async fn forget_in(home: &Path, request: &ForgetHooks) -> PortResult<()> {
    let directory = directory(home, &request.environment);
    let but = request.but.as_ref().map(|of| format!("{of}-"));
    blocking(move || remove_all_but(&directory, but.as_deref())).await
}

fn remove_all_but(directory: &Path, but: Option<&str>) -> PortResult<()> {
    let failed = |cause: io::Error| PortError::failed(format!("{}: {cause}", directory.display()));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed(cause)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if but.is_none_or(|but| !entry.file_name().to_string_lossy().starts_with(but)) {
            failpoint!("hook/forget", fs::remove_file(entry.path())).map_err(failed)?;
        }
    }
    Ok(())
}

pub(crate) fn one_off_of(request: &HookRequest) -> OneOff {
    OneOff {
        placement: request.placement.clone(),
        name: request.hook.to_string(),
        command: request.command.clone(),
        variables: BTreeMap::from([("ORCHESTRATE_HOOK".to_owned(), request.hook.to_string())]),
        timeout: request.timeout,
    }
}

pub(crate) fn cut_off(request: &HookRequest) -> PortError {
    let (hook, version) = (request.hook, &request.placement.version);
    PortError::new(
        PortErrorKind::Failed,
        format!("{hook} of {version} was cut off, and is not run twice; look at what it has done"),
    )
}

/// A release that does not run gets a fresh directory for as long as the command runs. Whether it was needed.
async fn borrow_directory(shared: &Arc<Shared>, request: &HookRequest) -> PortResult<bool> {
    let gate = shared.gate(&request.placement.environment, request.placement.slot);
    let _turn = gate.lock().await;
    if runs(shared, request) {
        return Ok(false);
    }
    let spec = shared.spec(request.placement.release).await?;
    shared.make_working_copy(&request.placement, &spec).await?;
    Ok(true)
}

/// Unless its instances were started there meanwhile.
async fn give_back(shared: &Arc<Shared>, request: &HookRequest) {
    let gate = shared.gate(&request.placement.environment, request.placement.slot);
    let _turn = gate.lock().await;
    if runs(shared, request) {
        return;
    }
    if let Err(error) = shared.remove_working_copy(&request.placement).await {
        tracing::warn!(%error, "the directory of a hook is left");
    }
}

fn runs(shared: &Shared, request: &HookRequest) -> bool {
    let here = shared.keepers_in(&request.placement.environment, request.placement.slot);
    here.iter().any(|keeper| keeper.placement == request.placement)
}

/// Deployments and rollbacks are numbered once for a database, so the number and the hook say which one it is.
pub(crate) fn file(home: &Path, request: &HookRequest) -> PathBuf {
    directory(home, &request.placement.environment).join(format!("{}-{}.json", request.of, request.hook))
}

fn directory(home: &Path, environment: &EnvironmentName) -> PathBuf {
    home.join("hooks").join(environment.as_str())
}

pub(crate) fn keep(file: &Path, result: PortResult<Ended>) -> PortResult<Ended> {
    let kept = Kept::Ended(result);
    write(file, &kept)?;
    match kept {
        Kept::Ended(result) => result,
        Kept::Begun => Err(PortError::failed("a hook was lost")),
    }
}

pub(crate) fn read(file: &Path) -> PortResult<Option<Kept>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
            tracing::warn!(file = %file.display(), %cause, "what came of a hook cannot be understood");
            // It was begun, and nobody knows how far it came.
            Kept::Begun
        }))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(unwritable(file, &cause)),
    }
}

pub(crate) fn write(file: &Path, kept: &Kept) -> PortResult<()> {
    let put = || -> io::Result<()> {
        let directory = file.parent().unwrap_or(file);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        book::replace(file, kept)
    };
    put().map_err(|cause| unwritable(file, &cause))
}

fn unwritable(file: &Path, cause: &io::Error) -> PortError {
    PortError::failed(format!("what came of a hook cannot be kept in {}: {cause}", file.display()))
}
