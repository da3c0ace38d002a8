//! How a command ends: its exit code, or the error that decides it.

use std::process::ExitCode;

use orchestrate_core::Error;

use crate::settings::ConfigError;

/// The exit code of a command that ended as it should tell: mostly 0, also 3 or 4 where a result was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    pub const DONE: Self = Self(0);
}

/// What a command may fail with.
#[derive(Debug)]
pub enum Failure {
    Told(Error),
    /// A config file that cannot be used; it shows the place.
    Config(Box<ConfigError>),
}

pub type Ended<T = Exit> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Told(error) => error.kind().exit_code(),
            Self::Config(_) => 2,
        }
    }
}

/// What clap says: help and version are no errors, the rest is wrong usage.
pub fn usage(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() { 2 } else { 0 };
    if code != 0 && wants_json(std::env::args_os().map(|arg| arg.to_string_lossy().into_owned())) {
        return ExitCode::from(crate::printer::json_error(&usage_error(error)));
    }
    // It repeats what was typed, which may have been copied from anywhere.
    let plain = error.render().to_string();
    if crate::printer::print_if_it_steers(&plain) {
        return ExitCode::from(code);
    }
    // A closed pipe behind `orchestrate --help | head` is nobody's error.
    let _ = error.print();
    ExitCode::from(code)
}

/// Whether the command line that could not be read asks for JSON.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.collect();
    args.iter().any(|arg| arg == "--format=json") || args.windows(2).any(|pair| pair == ["--format", "json"])
}

/// What clap says, without its layout: the first paragraph is what is wrong.
fn usage_error(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let wrong = text.split("\n\n").next().unwrap_or_default();
    let wrong: Vec<&str> = wrong.lines().map(str::trim).collect();
    let wrong = wrong.join(" ");
    Error::usage("ORC-0200", wrong.trim_start_matches("error: ")).hint("see the options: orchestrate --help")
}
