//! `orchestrate demo`: the main job on a sample service, in a throw-away home, with the very commands a person types.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use orchestrate_core::{Error, Result};
use serde::Serialize;

use crate::args::Demo;
use crate::demo::chart::{ChartStyle, render_chart, thousands};
use crate::demo::load::{Load, LoadReport, Pace};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;

/// Users of the demo, each with a connection of its own.
const CONNECTIONS: u32 = 16;
/// How many seconds' worth of answers each act shows before the next begins.
const ACT: f64 = 1.5;
/// Longer than that no act waits for its answers.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run(args: &Demo, printer: &Printer) -> Ended {
    let stage = Stage::build(printer)?;
    let played = stage.play(args.rate).await;
    let ended = stage.clear().await;
    let (report, events) = played?;
    ended?;
    let figures = Figures::of(&report);
    printer.result(&figures, || text(printer, &report, &events, &figures));
    Ok(if figures.lost == 0 { Exit::DONE } else { Exit(3) })
}

type Events = Vec<(Duration, String)>;

/// A throw-away home, a config file, and a free address.
struct Stage<'a> {
    printer: &'a Printer,
    directory: PathBuf,
    program: PathBuf,
    address: SocketAddr,
}

/// What the demo shows in numbers.
#[derive(Serialize)]
struct Figures {
    requests: u64,
    /// Requests without a whole answer: what orchestrate itself must never cause.
    lost: u64,
    /// Answers with an error, all by the bad release while it had the traffic.
    errors_of_bad_release: u64,
    other_errors: u64,
    seconds: f64,
}

impl Figures {
    fn of(report: &LoadReport) -> Self {
        let versions = report.versions();
        let bad = versions.iter().filter(|share| &*share.version == "1.2.0").map(|share| share.errors).sum();
        Self {
            requests: u64::try_from(report.samples.len()).unwrap_or(u64::MAX),
            lost: report.lost(),
            errors_of_bad_release: bad,
            other_errors: report.failed() - report.lost() - bad,
            seconds: report.elapsed.as_secs_f64(),
        }
    }
}

impl<'a> Stage<'a> {
    fn build(printer: &'a Printer) -> Result<Self> {
        let cannot =
            |error: std::io::Error| Error::failed("ORC-0510", "the demo cannot be set up").source(error);
        let directory = std::env::temp_dir().join(format!("orchestrate-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(cannot)?;
        std::fs::DirBuilder::new().mode(0o700).create(directory.join("home")).map_err(cannot)?;
        let free =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_err(cannot)?;
        let program = std::env::current_exe().map_err(cannot)?;
        for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
            let dist = directory.join("dist").join(version);
            std::fs::create_dir_all(&dist).map_err(cannot)?;
            std::fs::write(dist.join("about.txt"), format!("the sample service, {version}\n"))
                .map_err(cannot)?;
        }
        Ok(Self { printer, directory, program, address: free })
    }

    /// Five acts under load. Each event is noted with its time since the load began.
    async fn play(&self, rate: u32) -> Result<(LoadReport, Events)> {
        self.say("a service goes live for the first time");
        self.behave("good", "0s")?;
        self.deploy("1.0.0", 0).await?;
        self.say(&format!(
            "users come: {rate} requests a second over {CONNECTIONS} connections to {}",
            self.address
        ));
        let load = Load::start(self.address, CONNECTIONS, Pace::PerSecond(rate));
        let mut events = Events::new();
        watch(&load, rate).await?;

        self.say("a good version; the one before it stays warm");
        self.deploy("1.1.0", 0).await?;
        note(&mut events, load.started(), "1.1.0 deployed");
        watch(&load, rate).await?;

        self.say(
            "a bad version: it passes its checks, then falls ill under traffic, and goes back by itself",
        );
        self.behave("sick_after:1s", "30s")?;
        self.deploy("1.2.0", 3).await?;
        note(&mut events, load.started(), "1.2.0 rolled back by itself");
        watch(&load, rate).await?;

        self.say("another version, which is well, but a person wants it back");
        self.behave("good", "0s")?;
        self.deploy("1.3.0", 0).await?;
        note(&mut events, load.started(), "1.3.0 deployed");
        watch(&load, rate).await?;
        let rollback =
            ["deploy", "rollback", "--env", "production", "--force", "--reason", "prices are wrong"];
        self.orchestrate(&rollback, 0).await?;
        note(&mut events, load.started(), "rolled back by hand");
        watch(&load, rate).await?;

        self.orchestrate(&["deploy", "history", "--env", "production"], 0).await?;
        Ok((load.stop().await, events))
    }

    fn say(&self, text: &str) {
        self.printer.progress(&format!("\n# {text}"));
    }

    async fn deploy(&self, version: &str, expected: u8) -> Result<()> {
        self.orchestrate(&["deploy", "--env", "production", "--version", version], expected).await
    }

    /// Types a command, as a person would, and shows what it prints.
    async fn orchestrate(&self, args: &[&str], expected: u8) -> Result<()> {
        let shown: Vec<String> = args
            .iter()
            .map(|arg| if arg.contains(' ') { format!("{arg:?}") } else { (*arg).to_owned() })
            .collect();
        self.printer.progress(&format!("$ orchestrate {}", shown.join(" ")));
        let output = self.command(args).output().await;
        let output =
            output.map_err(|error| Error::failed("ORC-0510", "a command cannot be run").source(error))?;
        for text in [&output.stderr, &output.stdout] {
            self.printer.progress(String::from_utf8_lossy(text).trim_end());
        }
        if output.status.code() == Some(i32::from(expected)) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::failed(
            "ORC-0510",
            format!("`orchestrate {}` ended with {}: {said}", shown.join(" "), output.status),
        ))
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(["--home"])
            .arg(self.directory.join("home"))
            .arg("--config")
            .arg(self.directory.join("orchestrate.yaml"))
            .args(args)
            .env_remove("ORCHESTRATE_DATABASE_URL")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Writes the config file for a version that behaves so, and is watched for so long.
    fn behave(&self, behaviour: &str, bake: &str) -> Result<()> {
        let config = serde_json::json!({
            "service": "sample",
            "release": { "artifact": self.directory.join("dist/{version}") },
            "environments": { "production": {
                "type": "production",
                "url": format!("http://{}", self.address),
                "processes": { "web": {
                    "command": [self.program, "sample-service"], "instances": 2, "listen": self.address,
                } },
                "strategy": { "type": "blue_green", "warm_for": "15m" },
                "health_check": { "path": "/healthz", "interval": "50ms" },
                "variables": { "BEHAVIOUR": behaviour },
                "verify": { "version": { "path": "/version", "contains": "{version}" }, "bake": bake },
                "rollback": { "automatic": true },
            } },
        });
        // JSON is YAML, and needs no escaping rules of its own.
        std::fs::write(self.directory.join("orchestrate.yaml"), config.to_string())
            .map_err(|error| Error::failed("ORC-0510", "the demo's config cannot be written").source(error))
    }

    /// Stops everything that was started, and removes what was written.
    async fn clear(&self) -> Result<()> {
        let stopped = self.command(&["daemon", "stop", "--all"]).output().await;
        remove(&self.directory);
        match stopped {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(Error::failed(
                "ORC-0510",
                format!("the demo could not be stopped: {}", String::from_utf8_lossy(&output.stderr)),
            )),
            Err(error) => Err(Error::failed("ORC-0510", "the demo could not be stopped").source(error)),
        }
    }
}

/// Sealed artifacts are read-only, directories too.
fn remove(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700));
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        waiting.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// Lets users be served for a while.
async fn watch(load: &Load, rate: u32) -> Result<()> {
    let mut wanted = None;
    let more =
        load.wait_until(|tally| tally.requests >= *wanted.get_or_insert(tally.requests + answers(rate)));
    tokio::time::timeout(PATIENCE, more)
        .await
        .map_err(|_| Error::failed("ORC-0510", "the users of the demo get no answers"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn answers(rate: u32) -> u64 {
    (f64::from(rate) * ACT) as u64
}

fn note(events: &mut Events, started: Instant, text: &str) {
    events.push((started.elapsed(), text.to_owned()));
}

fn text(printer: &Printer, report: &LoadReport, events: &Events, figures: &Figures) -> String {
    let unicode = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_none_or(|locale| locale.to_lowercase().contains("utf"));
    let chart = render_chart(report, events, ChartStyle { width: 100, color: printer.colors(), unicode });
    let reasons: String = match figures.lost + figures.other_errors {
        0 => String::new(),
        _ => report.failures().iter().map(|(what, count)| format!("\n{count} × {what}")).collect(),
    };
    let lost = if figures.lost == 0 {
        printer.good("0 lost")
    } else {
        printer.bad(&format!("{} lost", figures.lost))
    };
    format!(
        "\nwho was served by which version, over time:\n\n{chart}\n{} requests in {:.1} s: {lost}, {} errors by the bad 1.2.0 while it \
         was ill, {} other errors\n\nnext: `orchestrate init` writes a config file for a service of your own",
        thousands(figures.requests),
        figures.seconds,
        thousands(figures.errors_of_bad_release),
        thousands(figures.other_errors),
    ) + &reasons
}
