//! `orchestrate man` and `orchestrate completions`: made from the command line's own definition.

use clap::{Command, CommandFactory as _};
use orchestrate_core::Error;

use crate::args::Cli;
use crate::exit::{Ended, Exit};

pub fn completions(shell: clap_complete::Shell) -> Ended {
    clap_complete::generate(shell, &mut visible(&Cli::command()), "orchestrate", &mut std::io::stdout());
    Ok(Exit::DONE)
}

/// The command line without what people are not meant to type, which completions would offer all the same.
fn visible(whole: &Command) -> Command {
    Command::new("orchestrate")
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

pub fn page() -> Ended {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map(|()| Exit::DONE)
        .map_err(|error| Error::failed("ORC-0509", "the page cannot be written").source(error).into())
}
