//! `orchestrate man` and `orchestrate completions`: made from the command line's own definition.

use clap::CommandFactory as _;
use orchestrate_core::Error;

use crate::args::Cli;
use crate::exit::{Ended, Exit};

pub fn completions(shell: clap_complete::Shell) -> Ended {
    clap_complete::generate(shell, &mut Cli::command(), "orchestrate", &mut std::io::stdout());
    Ok(Exit::DONE)
}

pub fn page() -> Ended {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map(|()| Exit::DONE)
        .map_err(|error| Error::failed("ORC-0509", "the page cannot be written").source(error).into())
}
