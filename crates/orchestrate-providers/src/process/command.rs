//! From a process type to a process: which program, with which environment, in which directory.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use orchestrate_core::confinement::Confinement;
use orchestrate_core::failpoint;
use orchestrate_core::ports::{Placement, PortError, PortResult};
use rustix::fs::{Access, access};

use super::book::InstanceEntry;
use super::confine;
use super::keeper::Held;
use super::output;
use super::proc_table::{self, Mark};
use super::running::Running;
use crate::spec::RunSpec;

pub(super) const INSTANCE_VARIABLE: &str = "ORCHESTRATE_INSTANCE";
const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Spawns one instance as the leader of a process group of its own.
pub(super) fn spawn(
    spec: &RunSpec,
    placement: &Placement,
    instance: &InstanceEntry,
    directory: &Path,
    log: &Path,
) -> PortResult<Held> {
    let words =
        &spec.processes.get(&instance.process).map(|process| process.command.clone()).unwrap_or_default();
    let program = find_program(spec, &instance.process, directory)?;
    let failed = |what: &str, cause: io::Error| {
        PortError::failed(format!("{} of {} {what}: {cause}", instance.process, placement.version))
    };
    let confinement = confinement(spec, &instance.process);
    let (log, output_from) = failpoint!("instance/log", output::open(log, &confinement))
        .map_err(|cause| failed("cannot write its log", cause))?;
    let second: File = log.try_clone().map_err(|cause| failed("cannot write its log", cause))?;
    let mut variables = environment(spec, placement, &instance.name_in_environment(), instance.port)?;
    confine::adapt(&mut variables, &confinement)?;
    let mut command = confine::command(&program, words, &confinement)?;
    command
        .current_dir(directory)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second)
        .process_group(0);
    let mut child = failpoint!("instance/spawn", command.spawn())
        .map_err(|cause| cannot_run(&program, directory, &cause))?;
    match hold(child.id()) {
        Ok(running) => Ok(Held { running, output_from, adopted: false }),
        Err(cause) => {
            // What cannot be watched must not run.
            let _ = child.kill().and_then(|()| child.wait());
            Err(failed("cannot be watched", cause))
        }
    }
}

fn confinement(spec: &RunSpec, process: &str) -> Confinement {
    spec.processes.get(process).map(|process| process.confinement.clone()).unwrap_or_default()
}

pub(crate) fn hold(pid: u32) -> io::Result<Running> {
    let stat = proc_table::stat(pid).ok_or_else(|| io::Error::other("it is not in /proc"))?;
    Running::hold_child(Mark { pid, started: stat.started })
}

/// The program of a process type, where it can be run.
pub(super) fn find_program(spec: &RunSpec, process: &str, directory: &Path) -> PortResult<PathBuf> {
    let words = spec.processes.get(process).map(|process| process.command.as_slice()).unwrap_or_default();
    find(words.first(), &format!("process type {process} has no command"), spec, directory)
}

/// The program of a command, where it can be run; `missing` says that there is none.
pub(crate) fn find(
    program: Option<&String>,
    missing: &str,
    spec: &RunSpec,
    directory: &Path,
) -> PortResult<PathBuf> {
    let Some(program) = program.filter(|program| !program.is_empty()) else {
        return Err(PortError::failed(missing));
    };
    if program.contains('/') {
        // Without the `./` in the middle, since scripts show this path to people.
        let path: PathBuf = directory.join(program).components().collect();
        return if path.is_file() {
            if is_executable(&path) {
                Ok(path)
            } else {
                Err(not_found(program, "is not executable", directory))
            }
        } else {
            Err(not_found(program, "does not exist", directory))
        };
    }
    let places = spec.variables.get("PATH").map_or(STANDARD_PATH, String::as_str);
    env::split_paths(places)
        .filter(|place| !place.as_os_str().is_empty())
        .map(|place| directory.join(place).join(program))
        .find(|path| path.is_file() && is_executable(path))
        .ok_or_else(|| {
            let mut error = not_found(program, &format!("is in no directory of PATH ({places})"), directory);
            if directory.join(program).is_file() {
                error = error.detail(format!("the artifact has it; write `./{program}` in `command`"));
            }
            error
        })
}

fn is_executable(path: &Path) -> bool {
    access(path, Access::EXEC_OK).is_ok()
}

fn not_found(program: &str, why: &str, directory: &Path) -> PortError {
    PortError::failed(format!("command `{program}` {why}; looked in {}", directory.display()))
}

pub(crate) fn cannot_run(program: &Path, directory: &Path, cause: &io::Error) -> PortError {
    let shebang = || {
        let bytes = fs::read(program).ok()?;
        let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        Some(String::from_utf8_lossy(line).trim().to_owned())
    };
    let why = match (cause.kind(), shebang()) {
        (io::ErrorKind::NotFound, Some(interpreter)) => {
            format!("its interpreter `{interpreter}` does not exist")
        }
        (io::ErrorKind::NotFound, None) => "the loader or a library that it needs does not exist".to_owned(),
        _ => cause.to_string(),
    };
    PortError::failed(format!(
        "command `{}` cannot be run in {}: {why}",
        program.display(),
        directory.display()
    ))
}

/// All that the process gets to see of ours.
pub(crate) fn environment(
    spec: &RunSpec,
    placement: &Placement,
    name: &str,
    port: Option<u16>,
) -> PortResult<BTreeMap<OsString, OsString>> {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
    all.insert("PATH".into(), STANDARD_PATH.into());
    for name in ["HOME", "LANG", "TMPDIR"] {
        all.extend(env::var_os(name).map(|value| (name.into(), value)));
    }
    let secrets = spec.secrets.iter().map(|(name, value)| (name, value.expose()));
    for (name, value) in spec.variables.iter().map(|(name, value)| (name, value.as_str())).chain(secrets) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(PortError::failed(format!(
                "variable `{}` cannot be given to a process",
                name.escape_debug()
            )));
        }
        all.insert(name.into(), value.into());
    }
    // Last, so that no variable can hide who an instance is.
    all.insert("ORCHESTRATE_VERSION".into(), placement.version.as_str().into());
    all.insert("ORCHESTRATE_ENVIRONMENT".into(), placement.environment.as_str().into());
    all.insert(INSTANCE_VARIABLE.into(), name.into());
    all.extend(port.map(|port| ("PORT".into(), port.to_string().into())));
    Ok(all)
}
