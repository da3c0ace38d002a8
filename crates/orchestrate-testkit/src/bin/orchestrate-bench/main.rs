//! `make bench`: orchestrate beside HAProxy, nginx, caddy and a Docker swarm, on this machine, in one run.
//!
//! Every peer stands in front of the same service, which is this program with `--serve`. Rounds are interleaved, so
//! that what else the machine does hits all of them; figures are medians.

#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]
#![expect(clippy::print_stderr, reason = "and says what went wrong")]

mod bad_release;
mod canary;
mod client;
mod cold;
mod docker;
mod fifty;
mod idle;
mod many;
mod notices;
mod peers;
mod planning;
mod postgres;
mod process;
mod proxy_cost;
mod readiness;
mod recreate;
mod report;
mod revival;
mod serve;
mod side_clients;
mod strategies;
mod swarm;
mod switch;
mod table;
mod zero_loss;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::peers::Place;
use crate::table::Verdict;

/// Measures orchestrate against its targets, beside HAProxy, nginx and caddy.
#[derive(Debug, Parser)]
struct Options {
    /// The `orchestrate` program to measure, a release build; without it only the others are measured.
    #[arg(long)]
    orchestrate: Option<PathBuf>,
    /// How often each figure is taken; an odd number has a true median.
    #[arg(long)]
    rounds: Option<usize>,
    /// Fewer rounds and requests: shows that it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Only these parts.
    #[arg(long)]
    only: Vec<Part>,
    /// Fail if a target is missed.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Switch,
    ZeroLoss,
    ProxyCost,
    Strategies,
    Canary,
    Recreate,
    Cold,
    Docker,
    Swarm,
    Revival,
    BadRelease,
    Planning,
    Report,
    Notices,
    Idle,
    Readiness,
    Fifty,
}

/// What a part needs to know.
struct Plan {
    orchestrate: Option<PathBuf>,
    rounds: usize,
    quick: bool,
}

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("orchestrate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // These two are parts of what is measured, so they start without reading any option.
    match words.as_slice() {
        ["--serve", rest @ ..] => {
            runtime.block_on(serve::serve(rest))?;
            return Ok(ExitCode::SUCCESS);
        }
        ["--send", address, method, path, body] => {
            runtime.block_on(client::send(address, method, path, body))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let options = Options::parse();
    runtime.block_on(async {
        tokio::select! {
            result = bench(&options) => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn bench(options: &Options) -> Result<ExitCode> {
    let orchestrate = options.orchestrate.as_ref().map(|path| {
        std::fs::canonicalize(path).with_context(|| format!("there is no program at {}", path.display()))
    });
    let plan = Plan {
        orchestrate: orchestrate.transpose()?,
        rounds: options.rounds.unwrap_or(if options.quick { 3 } else { 11 }).max(1),
        quick: options.quick,
    };
    if plan.orchestrate.is_none() {
        println!("no --orchestrate PATH: only the other programs are measured\n");
    }
    println!("{}\n", peers::describe(&plan).await);
    let (mut verdicts, mut broken) = (Vec::new(), false);
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        match run(*part, &plan).await {
            Ok(mut of_part) => verdicts.append(&mut of_part),
            Err(error) => {
                broken = true;
                eprintln!("{part:?} could not be measured: {error:#}\n");
            }
        }
    }
    let missed = verdicts.iter().any(|verdict| !verdict.reached());
    for verdict in &verdicts {
        println!("{verdict}");
    }
    Ok(if broken || (missed && options.check) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn run(part: Part, plan: &Plan) -> Result<Vec<Verdict>> {
    let place = Place::new()?;
    match part {
        Part::Switch => switch::run(plan, &place).await,
        Part::ZeroLoss => zero_loss::run(plan, &place).await,
        Part::ProxyCost => proxy_cost::run(plan, &place).await,
        Part::Strategies => strategies::run(plan, &place).await,
        Part::Canary => canary::run(plan, &place).await,
        Part::Recreate => recreate::run(plan, &place).await,
        Part::Cold => cold::run(plan, &place).await,
        Part::Docker => docker::run(plan, &place).await,
        Part::Swarm => swarm::run(plan, &place).await,
        Part::Revival => revival::run(plan, &place).await,
        Part::BadRelease => bad_release::run(plan, &place).await,
        Part::Planning => planning::run(plan, &place).await,
        Part::Report => report::run(plan, &place).await,
        Part::Notices => notices::run(plan, &place).await,
        Part::Idle => idle::run(plan, &place).await,
        Part::Readiness => readiness::run(plan, &place).await,
        Part::Fifty => fifty::run(plan, &place).await,
    }
}
