//! `orchestrate`: reads the command line, calls one command, prints what came of it, and ends with its exit code.

mod access;
mod args;
mod calendar;
mod commands;
mod daemon;
mod daemon_client;
mod demo;
mod exit;
mod home;
mod host;
mod keys;
mod printer;
mod program;
mod progress;
mod settings;
mod signed_head;
mod site;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use exit::Exit;
use printer::Printer;

fn main() -> ExitCode {
    if let Some(code) = orchestrate_providers::process::launch(std::env::args_os()) {
        return ExitCode::from(code);
    }
    host::keep_memory_private();
    let cli = match Cli::try_parse_from(args::without_blank_reasons(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let printer = Printer::new(&cli.global, cli.format());
    let ended = commands::run(cli, &printer);
    match ended {
        Ok(Exit(code)) => ExitCode::from(printer.concluded(code)),
        Err(failure) => ExitCode::from(printer.failure(&failure)),
    }
}
