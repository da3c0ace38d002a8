//! `orchestrate daemon restart`: this program takes over daemon and proxy from the one that runs.

use std::time::Duration;

use orchestrate_core::{Error, Result};

use crate::args::Global;
use crate::daemon_client::DaemonClient;
use crate::exit::{Ended, Exit};
use crate::home::Home;
use crate::printer::{Printer, harmless};
use crate::wiring::Wiring;

/// The daemon gives up on a proxy before that.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(global: &Global, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let before = wiring.daemon.status().await.ok().flatten();
    wiring.daemon.take_over().await?;
    let detail = serde_json::json!({
        "from": before.as_ref().map(|status| status["daemon"]["version"].clone()),
        "to": crate::program::version(),
    });
    super::daemon::note(&wiring, "daemon_restarted", &detail).await;
    let status = settled(&wiring.daemon).await?;
    if let Some(why) = status["proxy"]["handover"]["failed"].as_str() {
        let version = status["proxy"]["version"].as_str().unwrap_or("another version");
        let message = format!(
            "the daemon was restarted, but the proxy goes on as the program before ({version}): {why}"
        );
        return Err(Error::failed("ORC-0511", message)
            .hint("users are served by it; once the reason is mended: orchestrate daemon restart")
            .into());
    }
    let value = serde_json::json!({ "restarted": true, "before": before, "status": status });
    printer.result(&value, || {
        let pid = |part: &str| status[part]["pid"].to_string();
        format!(
            "{} restarted as {}: daemon {}, proxy {}; services went on",
            printer.good("the daemon"),
            harmless(crate::program::version()),
            pid("daemon"),
            pid("proxy")
        )
    });
    Ok(Exit::DONE)
}

/// How it is once the proxy is the new one, or stays the old one.
async fn settled(daemon: &DaemonClient) -> Result<serde_json::Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = daemon.status().await?;
        let Some(status) = status else {
            return Err(Error::failed("ORC-0502", "the daemon ended again").hint("orchestrate daemon start"));
        };
        let under_way = status["proxy"].is_null() || status["proxy"]["handover"] == "under_way";
        if !under_way || tokio::time::Instant::now() > deadline {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says that another program than this one runs as the daemon.
pub async fn note_another(global: &Global, printer: &Printer) {
    if printer.quiet || printer.json() {
        return;
    }
    let Ok(home) = Home::locate(global.home.as_deref()) else { return };
    if let Some(version) = DaemonClient::new(home, Vec::new()).another_version().await {
        printer.note(&format!(
            "the daemon runs as version {}, this is {}; to have this one take over: orchestrate daemon restart",
            harmless(&version),
            crate::program::version()
        ));
    }
}
