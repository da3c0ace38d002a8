//! `orchestrate env …`: environments.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrate_core::access::Right;
use orchestrate_core::database::ReadinessRecord;
use orchestrate_core::database::{Asked, Site};
use orchestrate_core::environment::{EnvironmentSettings, HealthCheck, ProcessType};
use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{Clock as _, Provider as _, Router as _, SystemClock};
use orchestrate_core::slot::SlotState;
use orchestrate_core::{Error, Result};
use orchestrate_providers::process::ProcessProvider;
use serde::Serialize;

use super::intake;
use super::refusal::noted;
use crate::args::{EnvApply, EnvCommand, EnvCreate, Global};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, moment};
use crate::progress::StepProgress;
use crate::wiring::Wiring;

pub async fn run(global: &Global, command: EnvCommand, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    match command {
        EnvCommand::List(_) => list(&wiring, printer).await,
        EnvCommand::Show(args) => show(&wiring, &args.name, printer).await,
        EnvCommand::Create(args) => create(&wiring, args, printer).await,
        EnvCommand::Apply(args) => apply(global, &wiring, args, printer).await,
        EnvCommand::Delete(args) => delete(&wiring, &args.name, printer).await,
        EnvCommand::Check(args) => check(&wiring, &args.name, printer).await,
        EnvCommand::Stop(args) => stop(&wiring, &args.name, printer).await,
        EnvCommand::Accept(args) => accept(&wiring, &args.name, printer).await,
        EnvCommand::Adopt(args) => super::env_adopt::run(&wiring, &args, printer).await,
        EnvCommand::Prune(args) => super::env_prune::run(&wiring, &args, printer).await,
    }
}

async fn list(wiring: &Wiring, printer: &Printer) -> Ended {
    let mut rows = Vec::new();
    let seen = wiring.db.list_readiness().await?;
    for record in wiring.db.list_environments().await? {
        let rollback = seen.iter().find(|seen| seen.environment == record.environment.name);
        let live = match record.live {
            Some(live) => wiring.db.release(live.release).await?.map(|release| release.version),
            None => None,
        };
        rows.push(serde_json::json!({
            "name": record.environment.name,
            "service": record.environment.service,
            "type": record.environment.settings.kind,
            "provider": record.environment.settings.provider,
            "strategy": record.environment.settings.strategy.kind,
            "live": live,
            "url": record.environment.settings.url,
            "rollback": rollback.map(readiness),
        }));
    }
    printer.result(&rows, || {
        if rows.is_empty() {
            return "there are no environments yet; write orchestrate.yaml with `orchestrate init`, then run `orchestrate env apply`".into();
        }
        let names = ["name", "service", "type", "provider", "strategy", "live", "url"];
        let cells = rows.iter().map(|row| {
            let mut cells = names.map(|name| row[name].as_str().unwrap_or("-").to_owned()).to_vec();
            cells.push(rollback(&row["rollback"], printer));
            cells
        });
        let head = ["NAME", "SERVICE", "TYPE", "PROVIDER", "STRATEGY", "LIVE", "URL", "ROLLBACK"];
        printer.table(&head, cells.collect())
    });
    Ok(Exit::DONE)
}

/// As the daemon saw it last.
fn readiness(seen: &ReadinessRecord) -> serde_json::Value {
    let readiness = &seen.readiness;
    serde_json::json!({
        "ready": readiness.ready, "target_version": readiness.target_version, "path": readiness.path,
        "estimated_ms": readiness.estimated_ms, "blockers": readiness.blockers,
        "problems": readiness.problems, "warnings": readiness.warnings, "since": seen.since,
        "checked_at": seen.checked_at,
    })
}

fn rollback(seen: &serde_json::Value, printer: &Printer) -> String {
    let (target, path) = (&seen["target_version"], &seen["path"]);
    match (seen["ready"].as_bool(), target.as_str()) {
        (Some(true), Some(target)) if seen["problems"].as_array().is_some_and(|found| !found.is_empty()) => {
            printer.bad(&format!("DRILL FAILED: {target}"))
        }
        (Some(true), Some(target)) => {
            let warned = seen["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
            let but = if warned { ", with a warning" } else { "" };
            format!("ready: {target}, {}{but}", path.as_str().unwrap_or_default())
        }
        (Some(false), Some(target)) => printer.bad(&format!("NOT READY: {target}")),
        (Some(_), None) => "nothing older".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

async fn show(wiring: &Wiring, name: &EnvironmentName, printer: &Printer) -> Ended {
    let record = wiring.db.environment(name).await?;
    printer.result(&record.environment, || {
        serde_json::to_string_pretty(&record.environment).unwrap_or_default()
    });
    Ok(Exit::DONE)
}

async fn create(wiring: &Wiring, args: EnvCreate, printer: &Printer) -> Ended {
    if !orchestrate_core::name::is_plain_name(&args.service) {
        return Err(Error::usage("ORC-0206", format!("{:?} is not the name of a service", args.service))
            .hint("use letters, digits, `.`, `_` and `-`")
            .into());
    }
    if wiring.db.find_environment(&args.name).await?.is_some() {
        return Err(Error::refused("ORC-0128", format!("environment {} is there already", args.name))
            .hint(format!("see it: orchestrate env show {}", args.name))
            .into());
    }
    let process = ProcessType {
        command: args.command,
        instances: args.instances,
        listen: args.listen,
        confinement: Default::default(),
    };
    let mut settings: EnvironmentSettings = serde_json::from_value(serde_json::json!({
        "type": args.kind, "processes": BTreeMap::from([("web", process)]),
    }))
    .map_err(|error| Error::bug(format!("defaults that do not hold: {error}")))?;
    settings.url = args.listen.map(|address| format!("http://{address}"));
    settings.strategy.kind = args.strategy;
    settings.health_check = HealthCheck { path: args.health_path, ..HealthCheck::default() };
    let actor = wiring.actor(Right::Administer, &args.name, "create").await?;
    let now = SystemClock.now();
    wiring.db.apply_environment(&args.name, &args.service, &settings, &[], &actor, now).await?;
    let record = wiring.db.environment(&args.name).await?;
    printer.result(&record.environment, || {
        format!(
            "{} environment {}\nnext: orchestrate deploy --env {} --version V --artifact PATH",
            printer.good("created"),
            args.name,
            args.name
        )
    });
    Ok(Exit::DONE)
}

async fn apply(global: &Global, wiring: &Wiring, args: EnvApply, printer: &Printer) -> Ended {
    let Some(config) = intake::config(global, args.env.as_ref())? else {
        return Err(Error::usage("ORC-0213", "there is no orchestrate.yaml here")
            .hint("write one with `orchestrate init`, or name one with --config FILE")
            .into());
    };
    if let Some(only) = args.env.as_ref().filter(|only| !config.environments.contains_key(*only)) {
        return Err(intake::unknown(only, &config).into());
    }
    let now = SystemClock.now();
    let mut applied = Vec::new();
    for (name, environment) in &config.environments {
        let (db, settings) = (&wiring.db, &environment.settings);
        let actor = wiring.actor(Right::Deploy, name, "apply").await?;
        wiring.only_here(asked("apply", name, &actor)).await?;
        let loosened = intake::loosened(wiring, name, settings).await?;
        if !loosened.is_empty() {
            wiring.actor(Right::Administer, name, "apply").await?;
        }
        let channels = intake::channels(wiring, &config, name).await?;
        let changed = db.apply_environment(name, &config.service, settings, &channels, &actor, now).await;
        let changed = noted(db, asked("apply", name, &actor), changed).await?;
        let mut row = serde_json::json!({ "name": name, "changed": changed });
        if !loosened.is_empty() {
            row["loosened"] = loosened.into();
        }
        applied.push(row);
    }
    printer.result(&applied, || {
        let lines = applied.iter().map(|row| {
            let word = if row["changed"] == true { printer.good("applied") } else { "unchanged".to_owned() };
            let loosened = row["loosened"].as_array().into_iter().flatten().filter_map(|what| what.as_str());
            let loosened = loosened.collect::<Vec<_>>().join(", ");
            let more = if loosened.is_empty() {
                loosened
            } else {
                format!("; its policies are looser now: {loosened}")
            };
            format!("{word} {}{more}", row["name"].as_str().unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::DONE)
}

fn asked<'a>(what: &'static str, environment: &'a EnvironmentName, actor: &'a str) -> Asked<'a> {
    Asked { environment, actor, what, version: None, reason: None }
}

async fn delete(wiring: &Wiring, name: &EnvironmentName, printer: &Printer) -> Ended {
    let actor = wiring.actor(Right::Administer, name, "delete").await?;
    wiring.only_here(asked("delete", name, &actor)).await?;
    let deleted = wiring.db.delete_environment(name, &actor, SystemClock.now()).await;
    noted(&wiring.db, asked("delete", name, &actor), deleted).await?;
    let value = serde_json::json!({ "name": name, "deleted": true });
    printer.result(&value, || format!("{} environment {name}; its history stays", printer.good("deleted")));
    Ok(Exit::DONE)
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    name: String,
    passed: bool,
    message: String,
}

async fn check(wiring: &Wiring, name: &EnvironmentName, printer: &Printer) -> Ended {
    let findings = findings(wiring, name).await?;
    let all = findings.iter().all(|finding| finding.passed);
    printer.result(&findings, || {
        let rows = findings.iter().map(|finding| {
            let mark = if finding.passed { printer.good("ok") } else { printer.bad("failed") };
            vec![mark, finding.name.clone(), finding.message.clone()]
        });
        printer.table(&["", "CHECK", "FOUND"], rows.collect())
    });
    Ok(if all { Exit::DONE } else { Exit(1) })
}

async fn findings(wiring: &Wiring, name: &EnvironmentName) -> Result<Vec<Finding>> {
    let record = wiring.db.environment(name).await?;
    let mut findings = Vec::new();
    let mut found = |name: &str, passed: bool, message: String| {
        findings.push(Finding { name: name.into(), passed, message });
    };
    if let Some(there) = wiring.elsewhere(&record).await? {
        let Site { host, home, .. } = &there.site;
        let message = format!("it runs on {host}, in {home}; what runs can be looked at only there");
        found("site", false, message);
        found("daemon", there.alive, format!("the one there {}", there.seen()));
        return Ok(findings);
    }
    let daemon = wiring.daemon.is_running().await;
    found(
        "daemon",
        daemon,
        if daemon { "answers".into() } else { "does not run; orchestrate daemon start".into() },
    );
    if let Some(since) = wiring.db.lease(name).await?.and_then(|lease| lease.restored_at) {
        let when = moment(since);
        found(
            "records",
            false,
            format!(
                "restored from a backup at {when} UTC; what runs is left alone until: orchestrate env accept {name}"
            ),
        );
    }
    let slots = wiring.db.slots(name).await?;
    let live = slots.iter().find(|slot| slot.state == SlotState::Live);
    let (Some(live), Some(_)) = (live, record.live) else {
        found("live", true, "nothing is deployed".into());
        return Ok(findings);
    };
    let release =
        wiring.db.release(live.release).await?.ok_or_else(|| Error::bug("a slot without a release"))?;
    match wiring.onlooker().1.observe(name).await {
        Err(error) => found("traffic", false, error.to_string()),
        Ok(view) => {
            let right =
                view.live().is_some_and(|seen| seen.slot == live.slot && seen.release == live.release);
            let routed = release.contents.routed().next().is_some();
            let message = match view.live() {
                Some(seen) => format!("goes to {} in {}", seen.version, seen.slot),
                None if routed => "goes nowhere".to_owned(),
                None => "there is none to route".to_owned(),
            };
            found("traffic", right || !routed, format!("{message}; {} is recorded as live", release.version));
        }
    }
    match ProcessProvider::new(wiring.home.daemon_socket()).instances(name).await {
        Err(error) => found("instances", false, error.to_string()),
        Ok(instances) => {
            for (process, wanted) in &release.contents.processes {
                let ready = instances
                    .iter()
                    .filter(|i| i.placement.release == release.id && i.process == *process)
                    .filter(|i| i.state == orchestrate_core::ports::InstanceState::Ready)
                    .count();
                let passed = u32::try_from(ready).unwrap_or(u32::MAX) >= wanted.instances;
                found(
                    &format!("process {process}"),
                    passed,
                    format!("{ready} of {} ready", wanted.instances),
                );
            }
        }
    }
    Ok(findings)
}

async fn accept(wiring: &Wiring, name: &EnvironmentName, printer: &Printer) -> Ended {
    let live = wiring.db.environment(name).await?.live.map(|live| live.release);
    let actor = wiring.actor(Right::Administer, name, "accept").await?;
    wiring.only_here(asked("accept", name, &actor)).await?;
    let (_, router) = wiring.onlooker();
    let view = router.observe(name).await.unwrap_or_default();
    let served = view.live().filter(|there| Some(there.release) != live).map(|there| there.slot);
    let accepted = wiring.db.accept_restored(name, served, &actor, SystemClock.now()).await;
    noted(&wiring.db, asked("accept", name, &actor), accepted).await?;
    wiring.hand_over().await?;
    let value = serde_json::json!({ "name": name, "accepted": true });
    printer.result(&value, || {
        format!(
            "{} the records of {name}; the daemon brings what runs in line with them",
            printer.good("accepted")
        )
    });
    Ok(Exit::DONE)
}

async fn stop(wiring: &Wiring, name: &EnvironmentName, printer: &Printer) -> Ended {
    wiring.db.environment(name).await?;
    let actor = wiring.actor(Right::Deploy, name, "stop").await?;
    wiring.only_here(asked("stop", name, &actor)).await?;
    let rollout = wiring.db.open_rollout(name).await?;
    let ends = rollout.as_ref().map_or_else(String::new, |rollout| {
        format!(" This ends a rollout: {}.", super::deploy_promote::standing(rollout))
    });
    if !confirmed(printer, &format!("stop everything in {name}?{ends}"), rollout.is_none()) {
        return Err(Error::refused("ORC-0129", format!("not confirmed; nothing was stopped.{ends}"))
            .hint(format!("answer y, or type: orchestrate env stop {name} --yes"))
            .into());
    }
    wiring.daemon.ensure().await?;
    let progress = Arc::new(StepProgress::new(printer));
    let stopped = wiring.executor(Arc::clone(&progress) as _).stop_environment(name, &actor).await;
    progress.finished();
    let version = stopped?;
    let value =
        serde_json::json!({ "environment": name, "version": version, "stopped": true, "rollout": rollout });
    let beside = rollout.map_or_else(String::new, |rollout| {
        format!(" and {}, whose rollout has ended at {} %", rollout.version, rollout.weight)
    });
    printer.result(&value, || format!("{} {version} in {name}{beside}", printer.good("stopped")));
    Ok(Exit::DONE)
}

/// Asks a person; a script that did not say --yes is taken at its word where it can mean only one thing.
fn confirmed(printer: &Printer, question: &str, is_plain: bool) -> bool {
    use std::io::{BufRead as _, IsTerminal as _};
    if printer.yes {
        return true;
    }
    if printer.json() || !std::io::stdin().is_terminal() {
        return is_plain;
    }
    printer.progress(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
