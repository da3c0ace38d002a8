//! `orchestrate doctor`: looks for what is wrong on this host, and says what to do. Changes nothing.

use orchestrate_core::Error;
use orchestrate_core::database::{Database, DatabaseUrl};
use orchestrate_core::secrets::{KeySource as _, Look};
use orchestrate_proxy::BuiltinRouter;
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::home::Home;
use crate::keys::Place;
use crate::printer::{Printer, harmless, moment};
use crate::wiring::Wiring;

#[derive(Serialize)]
struct Finding {
    name: &'static str,
    passed: bool,
    message: String,
    hint: Option<String>,
}

pub async fn run(global: &Global, printer: &Printer) -> Ended {
    let mut findings = Vec::new();
    let home = Home::locate(global.home.as_deref())?;
    findings.push(finding("home", home.prepare().map(|()| home.directory().display().to_string())));
    if findings[0].passed {
        look(global, &home, &mut findings).await;
    }
    let all = findings.iter().all(|finding| finding.passed);
    printer.result(&findings, || {
        let rows = findings.iter().map(|finding| {
            let mark = if finding.passed { printer.good("ok") } else { printer.bad("failed") };
            let hint = finding.hint.clone().unwrap_or_default();
            vec![mark, finding.name.to_owned(), harmless(&finding.message), hint]
        });
        printer.table(&["", "CHECK", "FOUND", "WHAT TO DO"], rows.collect())
    });
    Ok(if all { Exit::DONE } else { Exit(1) })
}

/// Whether a rollback would work in each environment, as the daemon saw it last.
async fn rollbacks(db: &Database, findings: &mut Vec<Finding>) {
    let seen = match db.list_readiness().await {
        Ok(seen) => seen,
        Err(error) => return findings.push(finding("rollback", Err(error))),
    };
    let before = findings.len();
    restored(db, findings).await;
    for record in &seen {
        let (name, readiness) = (&record.environment, &record.readiness);
        for problem in &readiness.problems {
            let hint = format!("mend the cause, then see it work: orchestrate deploy drill --env {name}");
            findings.push(failed("drill", format!("{name}: {problem}"), Some(hint)));
        }
        for warning in &readiness.warnings {
            findings.push(passed("rollback", format!("{name} may not be able to go back: {warning}")));
        }
        let Some(target) = readiness.target_version.as_ref().filter(|_| !readiness.ready) else { continue };
        let why = readiness.blockers.join("; ");
        let message = format!("{name} cannot go back to {target}, since {}: {why}", moment(record.since));
        let hint = format!("see what else there is: orchestrate deploy candidates --env {name}");
        findings.push(failed("rollback", message, Some(hint)));
    }
    if findings.len() == before {
        findings.push(passed("rollback", "nothing is known to be in the way of one".into()));
    }
}

/// What runs there is left alone until somebody says that the records are true.
async fn restored(db: &Database, findings: &mut Vec<Finding>) {
    for record in db.list_environments().await.unwrap_or_default() {
        let name = record.environment.name;
        let Some(since) = db.lease(&name).await.ok().flatten().and_then(|lease| lease.restored_at) else {
            continue;
        };
        let message = format!(
            "{name} has records from a backup, since {} UTC; what runs may be something else",
            moment(since)
        );
        findings.push(failed("records", message, Some(format!("orchestrate env check {name}"))));
    }
}

async fn look(global: &Global, home: &Home, findings: &mut Vec<Finding>) {
    let wiring = match Wiring::open(global).await {
        Ok(wiring) => wiring,
        Err(error) => return findings.push(finding("database", Err(error))),
    };
    findings.push(finding("database", integrity(&wiring.db, global, home).await));
    findings.push(finding("key", key(&wiring).await));
    let config = super::intake::config(global, None);
    findings.push(match config {
        Ok(Some(config)) => passed("config file", config.path.display().to_string()),
        Ok(None) => passed("config file", "none here; `orchestrate init` writes one".into()),
        Err(crate::exit::Failure::Config(error)) => {
            failed("config file", error.to_string(), error.hint_text().map(str::to_owned))
        }
        Err(crate::exit::Failure::Told(error)) => finding("config file", Err(error)),
    });
    let running = wiring.daemon.is_running().await;
    findings.push(passed(
        "daemon",
        if running { "answers" } else { "does not run; it starts when needed" }.into(),
    ));
    rollbacks(&wiring.db, findings).await;
    if running {
        traces(&wiring, findings).await;
    }
    match BuiltinRouter::new(home.proxy_socket()).hello().await {
        Ok(hello) => {
            for (address, why) in &hello.unbound {
                let hint = format!("see who has it: ss -ltnp 'sport = :{}'", address.port());
                findings.push(failed("proxy", format!("{address} cannot be opened: {why}"), Some(hint)));
            }
            if let Some(aside) = &hello.set_aside {
                findings.push(failed(
                    "proxy",
                    format!("its state file was unreadable and moved to {aside}"),
                    None,
                ));
            }
            let count = hello.listening.len();
            let addresses = if count == 1 { "address" } else { "addresses" };
            findings.push(passed("proxy", format!("answers, {count} {addresses} open")));
        }
        Err(_) if !running => {}
        Err(error) => {
            findings.push(failed(
                "proxy",
                error.to_string(),
                Some("orchestrate daemon stop, then start".into()),
            ));
        }
    }
    operations(&wiring, findings).await;
}

/// How it goes with the collector of traces, if there is one.
async fn traces(wiring: &Wiring, findings: &mut Vec<Finding>) {
    let Ok(Some(status)) = wiring.daemon.status().await else { return };
    let traces = &status["traces"];
    let waiting = traces["waiting"].as_i64().unwrap_or(0);
    let waits =
        if waiting == 1 { "1 operation waits".to_owned() } else { format!("{waiting} operations wait") };
    let hint = "see docs/traces.md; after a change of its variables: orchestrate daemon restart";
    findings.push(match (traces["to"].as_str(), traces["error"].as_str()) {
        (None, None) => return,
        (None, Some(why)) => failed("traces", format!("are sent nowhere: {why}"), Some(hint.into())),
        (Some(_), Some(why)) => failed("traces", format!("{waits}: {why}"), Some(hint.into())),
        (Some(to), None) => match traces["refused"].as_i64().unwrap_or(0) {
            0 => passed("traces", format!("are sent to {to}, {waits}")),
            refused => passed("traces", format!("are sent to {to}, {waits}, {refused} refused in a week")),
        },
    });
}

async fn integrity(db: &Database, global: &Global, home: &Home) -> orchestrate_core::Result<String> {
    let url = match (&global.database_url, &global.db_path) {
        (Some(url), _) => DatabaseUrl::parse(url)?,
        (None, Some(path)) => DatabaseUrl::Sqlite(path.clone()),
        (None, None) => DatabaseUrl::Sqlite(home.database()),
    };
    db.check_integrity().await?;
    Ok(format!("{url} is whole"))
}

async fn operations(wiring: &Wiring, findings: &mut Vec<Finding>) {
    match wiring.db.list_open_operations().await {
        Err(error) => findings.push(finding("operations", Err(error))),
        Ok(open) if open.is_empty() => findings.push(passed("operations", "none is open".into())),
        Ok(open) => {
            for operation in open {
                let what = format!(
                    "{} in {} is {}",
                    operation.kind.as_str(),
                    operation.environment,
                    operation.status.as_str()
                );
                let hint = format!("orchestrate deploy resume --env {}", operation.environment);
                findings.push(failed("operations", what, Some(hint)));
            }
        }
    }
}

async fn key(wiring: &Wiring) -> orchestrate_core::Result<String> {
    let place = wiring.keys.place()?;
    let wanted = wiring.db.sealing_key().await?;
    if !wiring.keys.may_be_there()? && wanted.is_none() && !wiring.db.has_secrets().await? {
        return Ok("none yet; it is made with the first secret".into());
    }
    let ring = wiring.keys.keys(Look::Usual).await?;
    if wanted.is_some_and(|wanted| ring.find(&wanted).is_none()) {
        let hint = "restore the key from a backup; if it is lost, deploy again: its values are sealed anew";
        return Err(
            Error::refused("ORC-0211", "another key than the one that secrets are sealed with").hint(hint)
        );
    }
    Ok(match place {
        Place::File(_) => "readable, and by its owner only".to_owned(),
        Place::Command(words) => format!("printed by {}", words.first().map_or("", String::as_str)),
    })
}

fn passed(name: &'static str, message: String) -> Finding {
    Finding { name, passed: true, message, hint: None }
}

fn failed(name: &'static str, message: String, hint: Option<String>) -> Finding {
    Finding { name, passed: false, message, hint }
}

fn finding(name: &'static str, result: orchestrate_core::Result<String>) -> Finding {
    match result {
        Ok(message) => passed(name, message),
        Err(error) => failed(name, error.full_message(), error.hint_text().map(str::to_owned)),
    }
}
