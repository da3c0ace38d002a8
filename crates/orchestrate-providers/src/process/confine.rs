//! Running a command as another user and within limits: the user is changed on the way into the new process, and limits
//! are set there by this very program, started again as a launcher that then becomes the command.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use orchestrate_core::confinement::{Confinement, Limits};
use orchestrate_core::ports::{PortError, PortResult};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::proc_table::Bearer;
use crate::spec::RunSpec;

/// What the launcher is told by; the CLI knows no command of this name.
const LAUNCHER: &str = "exec-instance";
/// This program, also where its file was replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// What shells end with where a command cannot be run.
const CANNOT_RUN: u8 = 126;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// None for one that is named by its numbers only.
    pub name: Option<String>,
    pub home: Option<PathBuf>,
}

impl Identity {
    /// Whether it is another one than this program runs as.
    pub fn is_other(&self) -> bool {
        self.uid != rustix::process::geteuid().as_raw()
    }
}

/// The user that a confinement names, if it names one as whom a command can be run here.
pub(super) fn identity(confinement: &Confinement) -> PortResult<Option<Identity>> {
    let Some(user) = &confinement.user else { return Ok(None) };
    let users = fs::read_to_string("/etc/passwd")
        .map_err(|cause| PortError::failed(format!("the users of this machine cannot be read: {cause}")))?;
    let identity = look_up(user, &users)
        .ok_or_else(|| PortError::failed(format!("there is no user `{user}` on this machine")))?;
    let own = rustix::process::geteuid().as_raw();
    if identity.uid == 0 {
        return Err(PortError::failed(format!("`user: {user}` is root, which no limit holds back")));
    }
    if identity.is_other() && own != 0 {
        return Err(PortError::failed(format!(
            "only root can run something as `{user}`, and orchestrate runs as the user with the id {own}"
        )));
    }
    Ok(Some(identity))
}

/// Whether everything of a release can be run as the users that it names.
pub(super) fn check(spec: &RunSpec) -> PortResult<()> {
    let processes = spec.processes.values().map(|process| &process.confinement);
    processes.chain([&spec.confinement]).try_for_each(|confinement| identity(confinement).map(drop))
}

/// Whether a process runs as the user that a release says: anybody can put a name into the environment of a process.
pub(super) fn is_as_whom(bearer: &Bearer, spec: &RunSpec, process: &str) -> bool {
    let wanted = spec.processes.get(process).and_then(|kind| identity(&kind.confinement).ok().flatten());
    bearer.uid == wanted.map_or_else(|| rustix::process::geteuid().as_raw(), |wanted| wanted.uid)
}

/// By name, as `/etc/passwd` has it, or as `UID:GID`.
fn look_up(user: &str, users: &str) -> Option<Identity> {
    if let Some((uid, gid)) = user.split_once(':') {
        return Some(Identity { uid: uid.parse().ok()?, gid: gid.parse().ok()?, name: None, home: None });
    }
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        (name == user).then_some(())?;
        let (name, home) = (Some(name.to_owned()), Some(PathBuf::from(home)));
        Some(Identity { uid: uid.parse().ok()?, gid: gid.parse().ok()?, name, home })
    })
}

/// A command that runs `program` so confined, with these words as its name and arguments.
pub(super) fn command(program: &Path, words: &[String], confinement: &Confinement) -> PortResult<Command> {
    let identity = identity(confinement)?;
    let mut command = if confinement.limits.is_none() && !confinement.forbids_new_privileges() {
        let mut command = Command::new(program);
        command.args(words.iter().skip(1));
        if let Some(word) = words.first() {
            command.arg0(word);
        }
        command
    } else {
        let mut command = Command::new(THIS_PROGRAM);
        command
            .arg0("orchestrate")
            .arg(LAUNCHER)
            .args(options(confinement))
            .arg("--")
            .arg(program)
            .args(words);
        command
    };
    if let Some(other) = identity.filter(Identity::is_other) {
        // Changing the user of a child also drops every group but this one.
        command.uid(other.uid).gid(other.gid);
    }
    Ok(command)
}

fn options(confinement: &Confinement) -> Vec<String> {
    let Limits { memory, files, processes } = confinement.limits;
    let limit = |name: &str, value: Option<u64>| value.map(|value| format!("--{name}={value}"));
    let limits = [limit("memory", memory), limit("files", files), limit("processes", processes)];
    let privileges = confinement.forbids_new_privileges().then(|| "--no-new-privs".to_owned());
    limits.into_iter().flatten().chain(privileges).collect()
}

/// What becomes of the variables of a command that runs as another user: its own home and name, and no place of ours.
pub(super) fn adapt(
    variables: &mut std::collections::BTreeMap<OsString, OsString>,
    confinement: &Confinement,
) -> PortResult<()> {
    let Some(other) = identity(confinement)?.filter(Identity::is_other) else { return Ok(()) };
    let ours = |name: &str| env::var_os(name);
    for name in ["HOME", "TMPDIR"] {
        if variables.get(OsStr::new(name)) == ours(name).as_ref() {
            variables.remove(OsStr::new(name));
        }
    }
    let named = [("USER", other.name.clone()), ("LOGNAME", other.name)];
    let named = named.into_iter().filter_map(|(key, name)| Some((key, OsString::from(name?))));
    for (name, value) in named.chain(other.home.map(|home| ("HOME", home.into_os_string()))) {
        variables.entry(name.into()).or_insert(value);
    }
    Ok(())
}

/// If this program was started as a launcher, becomes the command; returns only if it cannot, with the exit code.
///
/// To be asked first thing, while there is one thread only: what is set here holds for a thread.
pub fn launch(arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    use std::io::Write as _;
    let mut arguments = arguments.skip(1);
    if arguments.next()? != LAUNCHER {
        return None;
    }
    let why = match become_command(arguments) {
        Ok(never) => match never {},
        Err(why) => why,
    };
    // Its output is where people look for what an instance said.
    let _ = writeln!(std::io::stderr(), "orchestrate: it cannot be run within its limits: {why}");
    Some(CANNOT_RUN)
}

fn become_command(mut arguments: impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, String> {
    for option in arguments.by_ref().take_while(|argument| argument != "--") {
        confine(option.to_str().unwrap_or_default())?;
    }
    let (program, name) = (arguments.next(), arguments.next());
    let program = program.ok_or("there is no program")?;
    let mut command = Command::new(&program);
    command.args(arguments);
    if let Some(name) = name {
        command.arg0(name);
    }
    Err(format!("{}: {}", program.display(), command.exec()))
}

fn confine(option: &str) -> Result<(), String> {
    let failed = |what: &str, cause: rustix::io::Errno| format!("{what} cannot be set: {cause}");
    if option == "--no-new-privs" {
        return rustix::thread::set_no_new_privs(true).map_err(|cause| failed("no_new_privs", cause));
    }
    let (name, value) = option.split_once('=').ok_or_else(|| format!("`{option}` is unknown"))?;
    let resource = match name {
        // Address space is no measure: some runtimes reserve a hundred times what they use.
        "--memory" => Resource::Data,
        "--files" => Resource::Nofile,
        "--processes" => Resource::Nproc,
        _ => return Err(format!("`{option}` is unknown")),
    };
    let value: u64 = value.parse().map_err(|_| format!("`{option}` is no number"))?;
    // Not above what this program may have itself.
    let most = getrlimit(resource).maximum.map_or(value, |most| most.min(value));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
        .map_err(|cause| failed(name, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nshop:x:1001:1002:Shop,,,:/srv/shop:/usr/sbin/nologin\nodd\n";

    #[test]
    fn a_user_is_found_by_name_or_by_numbers() {
        let shop = look_up("shop", USERS).unwrap();
        assert_eq!((shop.uid, shop.gid, shop.home), (1001, 1002, Some("/srv/shop".into())));
        assert_eq!(look_up("7:8", USERS).map(|found| (found.uid, found.gid)), Some((7, 8)));
        for unknown in ["sho", "odd", "", "7:", ":", "shop:8", "-1:0"] {
            assert_eq!(look_up(unknown, USERS), None, "{unknown}");
        }
    }

    #[test]
    fn root_is_nobody_to_run_a_service_as() {
        for user in ["root", "0:0"] {
            let confinement = Confinement { user: Some(user.into()), ..Confinement::default() };
            assert!(identity(&confinement).unwrap_err().message.contains("is root"), "{user}");
        }
        let nobody = Confinement { user: Some("no-such-user".into()), ..Confinement::default() };
        assert!(identity(&nobody).unwrap_err().message.contains("no user `no-such-user`"));
    }

    #[test]
    fn other_arguments_are_none_of_the_launchers() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        assert_eq!(launch(words("orchestrate deploy status")), None);
        assert_eq!(launch(words("orchestrate")), None);
        assert_eq!(launch(words("orchestrate exec-instance --odd -- /bin/true true")), Some(CANNOT_RUN));
        assert_eq!(
            launch(words("orchestrate exec-instance --files=many -- /bin/true true")),
            Some(CANNOT_RUN)
        );
    }
}
