//! `orchestrate logs`: what the instances print, with who printed it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orchestrate_core::Error;
use orchestrate_core::database::Site;
use orchestrate_core::environment::ProviderKind;
use orchestrate_core::name::{EnvironmentName, Version};
use orchestrate_core::ports::PortError;

use crate::args::{Global, Logs};
use crate::exit::{Ended, Exit};
use crate::printer::{Printer, harmless};
use crate::wiring::{ClusterPlaces, Wiring, cluster};

/// How much of the end of a file is read to find its last lines.
const TAIL: u64 = 4 << 20;

pub async fn run(global: &Global, args: &Logs, printer: &Printer) -> Ended {
    let wiring = Wiring::open(global).await?;
    let version = match &args.version {
        Some(version) => {
            wiring.db.environment(&args.env).await?;
            version.clone()
        }
        None => live_version(&wiring, &args.env).await?,
    };
    let record = wiring.db.environment(&args.env).await?;
    if record.environment.settings.provider == ProviderKind::Kubernetes {
        return in_cluster(&wiring, args, version, printer).await;
    }
    if let Some(there) = wiring.elsewhere(&record).await? {
        let Site { host, home, .. } = &there.site;
        return Err(Error::refused(
            "ORC-0130",
            format!("the output of {} is on {host}, in {home}", args.env),
        )
        .hint(format!("type the same on {host}: orchestrate --home {home} logs --env {}", args.env))
        .into());
    }
    let directory = wiring.home.path("logs").join(args.env.as_str()).join(version.as_str());
    let mut followed = Vec::new();
    for path in files(&directory) {
        let mut file = Followed::open(path);
        file.print_last(printer, usize::try_from(args.lines).unwrap_or(usize::MAX));
        followed.push(file);
    }
    if followed.is_empty() && !args.follow {
        return Err(Error::refused("ORC-0130", format!("there is no output of {version} in {}", args.env))
            .hint(format!("see what ran: orchestrate deploy history --env {}", args.env))
            .into());
    }
    if !args.follow {
        return Ok(Exit::DONE);
    }
    let mut interrupt = super::intake::interrupt();
    loop {
        tokio::select! {
            _ = interrupt.wait_for(|on| *on) => return Ok(Exit::DONE),
            // Files have no event that works on every file system; a fifth of a second is soon enough to read.
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        for path in files(&directory) {
            if !followed.iter().any(|file| file.path == path) {
                followed.push(Followed::open(path));
            }
        }
        for file in &mut followed {
            file.print_new(printer);
        }
    }
}

/// A cluster is asked from wherever this is typed.
async fn in_cluster(wiring: &Wiring, args: &Logs, version: Version, printer: &Printer) -> Ended {
    let logs = cluster::Logs::new(Arc::new(ClusterPlaces::new(wiring.db.clone())));
    let wanted = cluster::Wanted { environment: args.env.clone(), version, lines: args.lines };
    let failed = |error: PortError| {
        let told = Error::refused("ORC-0363", format!("the output of {} cannot be read: {error}", args.env));
        told.hint(error.detail.unwrap_or_else(|| "see whether kubectl logs gets further".to_owned()))
    };
    if !args.follow {
        let lines = logs.last(&wanted).await.map_err(failed)?;
        if lines.is_empty() {
            let message = format!("there is no output of {} in {}", wanted.version, args.env);
            return Err(Error::refused("ORC-0130", message)
                .hint(format!("see what ran: orchestrate deploy history --env {}", args.env))
                .into());
        }
        lines.iter().for_each(|line| print_line(printer, &line.pod, &line.text));
        return Ok(Exit::DONE);
    }
    let mut interrupt = super::intake::interrupt();
    tokio::select! {
        _ = interrupt.wait_for(|on| *on) => Ok(Exit::DONE),
        ended = logs.follow(&wanted, |line| print_line(printer, &line.pod, &line.text)) => {
            ended.map_err(failed)?;
            Ok(Exit::DONE)
        }
    }
}

fn print_line(printer: &Printer, name: &str, line: &str) {
    if printer.json() {
        return printer.result(&serde_json::json!({ "instance": name, "line": line }), String::new);
    }
    printer.out(&format!("{} {}", printer.faint(&format!("{name} |")), harmless(line)));
}

async fn live_version(wiring: &Wiring, environment: &EnvironmentName) -> Result<Version, Error> {
    let record = wiring.db.environment(environment).await?;
    let release = match record.live {
        Some(live) => wiring.db.release(live.release).await?,
        None => None,
    };
    release.map(|release| release.version).ok_or_else(|| {
        Error::refused("ORC-0121", format!("nothing is live in {environment}"))
            .hint("name a version with --version V")
    })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

/// One file, and how far it was read.
struct Followed {
    path: PathBuf,
    name: String,
    at: u64,
    partial: String,
}

impl Followed {
    fn open(path: PathBuf) -> Self {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { path, name, at: 0, partial: String::new() }
    }

    fn print_last(&mut self, printer: &Printer, lines: usize) {
        let size = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        self.at = size.saturating_sub(TAIL);
        let text = self.read();
        let all: Vec<&str> = text.lines().collect();
        for line in all.iter().skip(all.len().saturating_sub(lines)) {
            self.print(printer, line);
        }
    }

    fn print_new(&mut self, printer: &Printer) {
        // A file that shrank was rotated.
        if std::fs::metadata(&self.path).map_or(0, |found| found.len()) < self.at {
            self.at = 0;
        }
        let text = std::mem::take(&mut self.partial) + &self.read();
        let (whole, partial) = text.rsplit_once('\n').unwrap_or(("", &text));
        for line in whole.lines() {
            self.print(printer, line);
        }
        self.partial = partial.to_owned();
    }

    fn read(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.take(TAIL).read_to_end(&mut bytes)
        });
        self.at += u64::try_from(read.unwrap_or(0)).unwrap_or(0);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn print(&self, printer: &Printer, line: &str) {
        print_line(printer, &self.name, line);
    }
}
