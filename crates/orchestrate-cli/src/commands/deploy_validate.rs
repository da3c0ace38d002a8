//! `orchestrate deploy validate`, and the same checks before a deployment.

mod behind_haproxy;
mod in_cluster;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::database::EnvironmentRecord;
use orchestrate_core::environment::{Check, EnvironmentSettings, ProviderKind, RouterKind};
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::ports::{Router as _, Silent};
use orchestrate_core::pre_deploy_validation::{CheckFailure, CheckResult, PreDeployCheck};
use orchestrate_core::{Error, PreDeployValidator, Result};
use orchestrate_providers::artifact::free_space;

use super::intake::Intended;
use crate::args::{Global, Validate};
use crate::exit::{Ended, Exit};
use crate::host::cannot_listen;
use crate::printer::{Printer, harmless};
use crate::progress::StepProgress;
use crate::settings::ReleaseSource;
use crate::wiring::{Wiring, check_haproxy};

/// Free space that a deployment must find, in bytes, beside twice its artifact's size.
const SPARE: u64 = 64 << 20;
const DISK_SPACE: &str = "disk space";

pub async fn run(global: &Global, args: Validate, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let intended = Intended::read(global, &wiring, &args.env, args.artifact.as_deref()).await?;
    let mut results = results(&wiring, &intended, &args.env, args.version.as_ref()).await?;
    if let Some(signature) = signature(&wiring, &intended, args.version.as_ref()).await {
        results.insert(1, signature);
    }
    let all_passed = results.iter().all(|result| result.passed);
    printer.result(&results, || {
        let rows = results.iter().map(|result| {
            let mark = if result.passed { printer.good("ok") } else { printer.bad("failed") };
            vec![
                mark,
                result.name.clone(),
                harmless(&result.message),
                result.hint.clone().unwrap_or_default(),
            ]
        });
        printer.table(&["", "CHECK", "FOUND", "WHAT TO DO"], rows.collect())
    });
    Ok(if all_passed { Exit::DONE } else { Exit(1) })
}

/// Whether the artifact has the signature that `signing` asks for. A deployment looks itself, at the copy that it takes in.
async fn signature(wiring: &Wiring, intended: &Intended, version: Option<&Version>) -> Option<CheckResult> {
    let (signing, path) = (intended.signing(version?)?, artifact_path(intended, version)?);
    let store = wiring.store(intended.config.as_ref().and_then(|config| config.max_artifact_size));
    let checked = tokio::task::spawn_blocking(move || store.check_signature(&path, &signing)).await;
    let checked = checked.unwrap_or_else(|_| Err(Error::bug("a task ended early")));
    let name = "signature".to_owned();
    Some(match checked {
        Ok(()) => CheckResult { name, passed: true, message: "by the key in `signing`".into(), hint: None },
        Err(error) => {
            let hint = error.hint_text().map(str::to_owned);
            CheckResult { name, passed: false, message: error.full_message(), hint }
        }
    })
}

/// Runs the checks; the first that failed is the refusal, and all that failed are named.
pub async fn must_pass(
    wiring: &Wiring,
    intended: &Intended,
    environment: &EnvironmentName,
    version: &Version,
    progress: &StepProgress,
) -> Result<()> {
    progress.waiting("checking");
    if let Some(router) = &intended.settings.engine.router {
        // What is missing in haproxy.cfg is several lines, which are no part of a list.
        check_haproxy(router, &intended.settings.processes).await?;
    }
    let results = results(wiring, intended, environment, Some(version)).await;
    progress.finished();
    let results = results?;
    let failed: Vec<&CheckResult> = results.iter().filter(|result| !result.passed).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    // Our own checks say whole sentences; what a command printed needs its name.
    let own = |name: &str| intended.settings.checks.iter().all(|check| check.name != name);
    let told = failed.iter().map(|result| match own(&result.name) {
        true => result.message.clone(),
        false => format!("{}: {}", result.name, result.message),
    });
    let told: Vec<String> = told.collect();
    let error = Error::refused(
        "ORC-0127",
        format!("{version} is not deployed to {environment}: {}", told.join("; ")),
    );
    Err(error.hint(first.hint.clone().unwrap_or_else(|| {
        format!("see all checks: orchestrate deploy validate --env {environment} --version {version}")
    })))
}

async fn results(
    wiring: &Wiring,
    intended: &Intended,
    environment: &EnvironmentName,
    version: Option<&Version>,
) -> Result<Vec<CheckResult>> {
    let mut checks: Vec<Box<dyn PreDeployCheck>> = vec![
        Box::new(Reachable { wiring_home: wiring.home.directory().to_owned() }),
        Box::new(DiskSpace {
            home: wiring.home.directory().to_owned(),
            artifact: artifact_path(intended, version),
        }),
    ];
    if let Some(version) = version {
        checks.insert(
            0,
            Box::new(Readable { source: intended.source_for(version)?, settings: intended.settings.clone() }),
        );
    }
    // In a cluster nothing is kept on the disk of this machine.
    if intended.settings.provider == ProviderKind::Kubernetes {
        checks.retain(|check| check.name() != DISK_SPACE);
        checks.extend(in_cluster::checks(intended));
    }
    for (name, process) in &intended.settings.processes {
        match (process.listen, intended.settings.router()) {
            (Some(address), RouterKind::Builtin) => {
                let held = held(wiring, environment, address).await;
                checks.push(Box::new(Port { process: name.clone(), address, held }));
            }
            (Some(address), RouterKind::Haproxy) => {
                checks.push(Box::new(behind_haproxy::Bound { process: name.clone(), address }));
            }
            // Who reaches it is an affair of what routes there; without an address nobody does.
            (Some(_), RouterKind::Kubernetes | RouterKind::Custom | RouterKind::Symlink) | (None, _) => {}
        }
    }
    if let Some(router) = &intended.settings.engine.router {
        let processes = intended.settings.processes.clone();
        checks.push(Box::new(behind_haproxy::Prepared { router: router.clone(), processes }));
    }
    for check in &intended.settings.checks {
        checks.push(Box::new(UserCommand {
            check: check.clone(),
            directory: intended
                .config
                .as_ref()
                .map_or_else(|| PathBuf::from("."), |config| config.directory.clone()),
            environment: environment.clone(),
            version: version.cloned(),
        }));
    }
    let validator = PreDeployValidator::new(wiring.db.clone(), wiring.ports(Arc::new(Silent)), checks);
    validator.validate(environment, version, &intended.settings.windows).await
}

fn artifact_path(intended: &Intended, version: Option<&Version>) -> Option<PathBuf> {
    match intended.source_for(version?).ok()? {
        ReleaseSource::Artifact(path) => Some(PathBuf::from(path)),
        ReleaseSource::Git { .. } | ReleaseSource::Image(_) => None,
    }
}

/// Who has an address.
enum Held {
    Ours,
    /// Another environment's: the proxy does not give it to two.
    Anothers(EnvironmentName),
    /// Free, or a stranger's.
    Unknown,
}

/// Who listens there already, by the records and by what the proxy knows of this environment.
async fn held(wiring: &Wiring, environment: &EnvironmentName, address: SocketAddr) -> Held {
    let environments = wiring.db.list_environments().await.unwrap_or_default();
    let listens = |record: &&EnvironmentRecord| {
        let mut listening = record.environment.settings.processes.values().filter_map(|one| one.listen);
        record.live.is_some()
            && record.environment.settings.router() == RouterKind::Builtin
            && listening.any(|listen| listen == address)
    };
    match environments.iter().find(listens).map(|record| &record.environment.name) {
        Some(name) if name == environment => return Held::Ours,
        Some(name) => return Held::Anothers(name.clone()),
        None => {}
    }
    let view = wiring.onlooker().1.observe(environment).await.unwrap_or_default();
    let mut backends = view.slots.iter().flat_map(|slot| &slot.backends);
    if backends.any(|backend| backend.listen == address) { Held::Ours } else { Held::Unknown }
}

fn fails(message: impl Into<String>, hint: impl Into<String>) -> CheckFailure {
    CheckFailure { message: message.into(), hint: Some(hint.into()) }
}

/// The artifact is there and can be read.
struct Readable {
    source: ReleaseSource,
    settings: EnvironmentSettings,
}

#[async_trait]
impl PreDeployCheck for Readable {
    fn name(&self) -> String {
        "artifact".into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        match &self.source {
            ReleaseSource::Artifact(path) => {
                let path = Path::new(path);
                let found = std::fs::metadata(path).map_err(|_| {
                    fails(
                        format!("{} does not exist", path.display()),
                        "build it, or mend `release` in the config file",
                    )
                })?;
                if found.is_file() {
                    std::fs::File::open(path).map_err(|error| {
                        fails(format!("{} cannot be read: {error}", path.display()), "check its mode")
                    })?;
                }
                Ok(path.display().to_string())
            }
            ReleaseSource::Image(reference) => {
                let found = crate::wiring::find_image(&self.settings, reference).await;
                found.map_err(|error| CheckFailure {
                    message: error.full_message(),
                    hint: error.hint_text().map(str::to_owned),
                })
            }
            ReleaseSource::Git { repository, r#ref } => {
                let output = tokio::process::Command::new("git")
                    .args(["ls-remote", "--exit-code", "--", repository])
                    .stdin(Stdio::null())
                    .env("GIT_TERMINAL_PROMPT", "0")
                    .output()
                    .await
                    .map_err(|error| fails(format!("git cannot be run: {error}"), "install git"))?;
                if output.status.success() {
                    return Ok(format!("{ref} of {repository}", r#ref = r#ref));
                }
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(fails(
                    format!("{repository} cannot be read: {said}"),
                    "check `release.git` in the config file",
                ))
            }
        }
    }
}

/// The place where it would run takes writes.
struct Reachable {
    wiring_home: PathBuf,
}

#[async_trait]
impl PreDeployCheck for Reachable {
    fn name(&self) -> String {
        "environment reachable".into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        let probe = self.wiring_home.join(format!(".probe-{}", std::process::id()));
        let written = std::fs::write(&probe, b"probe");
        let _ = std::fs::remove_file(&probe);
        written.map(|()| "this machine".to_owned()).map_err(|error| {
            fails(
                format!("the home cannot be written: {error}"),
                "free some space, or check the owner of the home",
            )
        })
    }
}

/// Enough room for the artifact, its working copy, and then some.
struct DiskSpace {
    home: PathBuf,
    artifact: Option<PathBuf>,
}

#[async_trait]
impl PreDeployCheck for DiskSpace {
    fn name(&self) -> String {
        DISK_SPACE.into()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        let free = free_space(&self.home)
            .map_err(|error| fails(format!("the disk cannot be asked: {error}"), "check the home"))?;
        let size =
            self.artifact.as_deref().map_or(0, |path| std::fs::metadata(path).map_or(0, |found| found.len()));
        let wanted = size.saturating_mul(4) + SPARE;
        if free < wanted {
            return Err(fails(
                format!("{} MiB are free, {} MiB are wanted", free >> 20, wanted >> 20),
                "free some space on the disk of the home",
            ));
        }
        Ok(format!("{} MiB are free", free >> 20))
    }
}

/// The live address is free, or ours already.
struct Port {
    process: String,
    address: SocketAddr,
    held: Held,
}

#[async_trait]
impl PreDeployCheck for Port {
    fn name(&self) -> String {
        format!("address of {}", self.process)
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        match &self.held {
            Held::Ours => return Ok(format!("{} is ours", self.address)),
            Held::Anothers(name) => {
                return Err(fails(
                    format!("{} belongs to {name}", self.address),
                    format!(
                        "give `{}` another address; or, if {name} is not needed any more: orchestrate env stop {name}",
                        self.process
                    ),
                ));
            }
            Held::Unknown => {}
        }
        match cannot_listen(self.address) {
            None => Ok(format!("{} is free", self.address)),
            Some(error) => Err(fails(
                format!("{} cannot be used: {error}", self.address),
                format!("see who has it: ss -ltnp 'sport = :{}'", self.address.port()),
            )),
        }
    }
}

/// A command of the user's, which must end with status 0 within its time.
struct UserCommand {
    check: Check,
    directory: PathBuf,
    environment: EnvironmentName,
    version: Option<Version>,
}

#[async_trait]
impl PreDeployCheck for UserCommand {
    fn name(&self) -> String {
        self.check.name.clone()
    }

    async fn run(&self) -> std::result::Result<String, CheckFailure> {
        let [program, arguments @ ..] = self.check.command.as_slice() else {
            return Err(fails("its command is empty", "mend `checks` in the config file"));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env("ORCHESTRATE_ENVIRONMENT", self.environment.as_str())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(version) = &self.version {
            command.env("ORCHESTRATE_VERSION", version.as_str());
        }
        let timeout = self.check.timeout;
        let output = tokio::time::timeout(timeout.duration(), command.output())
            .await
            .map_err(|_| fails(format!("it took longer than {timeout}"), "raise its `timeout`, or mend it"))?
            .map_err(|error| {
                fails(format!("{program} cannot be run: {error}"), "mend `checks` in the config file")
            })?;
        if output.status.success() {
            return Ok("passed".into());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(fails(
            format!("{}: {last}", output.status),
            "mend what it found, or deploy with --skip-validation",
        ))
    }
}
