//! `orchestrate daemon …`: the background process of this host.

use orchestrate_core::Error;
use orchestrate_core::access::Right;
use orchestrate_core::ports::{Clock as _, SystemClock};

use crate::args::Global;
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::wiring::Wiring;

pub async fn run(global: &Global, how: crate::daemon::How) -> Ended {
    #[cfg(feature = "failpoints")]
    orchestrate_core::failpoint::this_is("daemon");
    log_to_stderr(global.verbose);
    crate::daemon::run(global, how).await?;
    Ok(Exit::DONE)
}

/// What a background process has to say goes to its log, which is its standard error.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "info,sqlx=warn",
        1 => "debug,sqlx=warn,hyper=info",
        _ => "trace,sqlx=warn,hyper=info",
    };
    let filter = std::env::var("ORCHESTRATE_LOG").unwrap_or_else(|_| level.to_owned());
    // It would complain on the same stderr that a line cannot be written, and panic where that fails as well.
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_env_filter(filter);
    // A second call has nothing to add.
    let _ = builder.try_init();
}

pub async fn start(global: &Global, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let started = wiring.daemon.ensure().await?;
    if started {
        note(&wiring, "daemon_started", &serde_json::json!({})).await;
    }
    let status = wiring.daemon.status().await?;
    let value = serde_json::json!({ "started": started, "status": status });
    printer.result(&value, || {
        let word = if started { "started" } else { "runs already" };
        format!("{} {word}", printer.good("the daemon"))
    });
    Ok(Exit::DONE)
}

pub async fn stop(global: &Global, all: bool, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    if all {
        wiring.actor_of_all(Right::Deploy).await?;
    }
    if !wiring.daemon.is_running().await {
        if !all || left_running(&wiring).await.is_empty() {
            let value = serde_json::json!({ "stopped": false });
            printer.result(&value, || "the daemon does not run".into());
            return Ok(Exit::DONE);
        }
        // Only a daemon can stop what an earlier one left running.
        wiring.daemon.ensure().await?;
    }
    note(&wiring, "daemon_stopped", &serde_json::json!({ "services_too": all })).await;
    wiring.daemon.shutdown(all).await?;
    if all {
        nothing_is_left(&wiring).await?;
    }
    let value = serde_json::json!({ "stopped": true, "all": all });
    printer.result(&value, || {
        let rest = if all { "services and proxy are stopped" } else { "services and proxy go on" };
        format!("{} stopped; {rest}", printer.good("the daemon"))
    });
    Ok(Exit::DONE)
}

/// Records who did it. What is done to the processes of a host does not wait for its database.
pub(super) async fn note(wiring: &Wiring, action: &'static str, detail: &serde_json::Value) {
    let actor =
        wiring.caller().await.map_or_else(|_| crate::host::actor(), |caller| caller.name().to_owned());
    let recorded = wiring.db.note(&actor, action, detail, SystemClock.now());
    match tokio::time::timeout(std::time::Duration::from_millis(500), recorded).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("{action} was not recorded: {}", error.full_message()),
        Err(_) => tracing::warn!("{action} was not recorded: the database did not answer in time"),
    }
}

/// The daemon is gone and cannot be asked any more whether it succeeded.
async fn nothing_is_left(wiring: &Wiring) -> Result<(), Error> {
    let mut left = left_running(wiring).await;
    for _ in 0..50 {
        if left.is_empty() {
            return Ok(());
        }
        // The proxy has said goodbye before it ends.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        left = left_running(wiring).await;
    }
    Err(Error::failed(
        "ORC-0504",
        format!("not everything could be stopped: {} left running", left.join(", ")),
    )
    .hint(format!("look at {}, then try again", wiring.home.daemon_log().display())))
}

async fn left_running(wiring: &Wiring) -> Vec<String> {
    let instances = orchestrate_providers::process::running_instances(wiring.home.directory());
    let mut left: Vec<String> = instances.iter().map(|pid| format!("the instance with pid {pid}")).collect();
    let proxy = orchestrate_server::connect(&wiring.home.proxy_socket()).await;
    left.extend(proxy.is_ok().then(|| "the proxy".to_owned()));
    left
}

pub async fn status(global: &Global, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let Some(status) = wiring.daemon.status().await? else {
        let value = serde_json::json!({ "daemon": null, "proxy": null });
        printer.result(&value, || "the daemon does not run; it starts by itself when it is needed".into());
        return Ok(Exit::DONE);
    };
    let field = |part: &str, name: &str| match &status[part][name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    if status["daemon"].is_null() {
        return Err(Error::bug("the daemon says nothing of itself").into());
    }
    printer.result(&status, || {
        let rows = ["daemon", "proxy"].map(|part| {
            vec![part.to_owned(), field(part, "pid"), field(part, "version"), field(part, "started_at")]
        });
        printer.table(&["", "PID", "VERSION", "STARTED"], rows.to_vec())
    });
    Ok(Exit::DONE)
}
