//! The user's own sentence: a template of Jinja's kind, over what the notice tells.

use std::fmt;

use minijinja::Environment;
use minijinja::value::Serde;
use orchestrate_core::ports::Notice;

/// Steps of rendering; a sentence takes a few dozen.
const FUEL: u64 = 20_000;
const LONGEST: usize = 4_000;

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1 on.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment
}

/// Whether it can be read. Names that a notice does not have are empty, since each kind has others.
pub fn check(template: &str) -> Result<(), Problem> {
    environment().template_from_str(template).map(drop).map_err(|error| problem(&error))
}

/// The sentence; what went wrong otherwise.
pub(crate) fn render(template: &str, notice: &Notice) -> Result<String, Problem> {
    let mut values = notice.payload.clone();
    values["kind"] = notice.kind.as_str().into();
    values["type"] = notice.kind.event_type().into();
    let mut text = environment().render_str(template, Serde(&values)).map_err(|error| problem(&error))?;
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
    }
    Ok(text)
}

fn problem(error: &minijinja::Error) -> Problem {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Problem { line: error.line(), message }
}
