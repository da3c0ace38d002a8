//! The user's own sentence: a template of Jinja's kind, over what the notice tells.

use std::fmt;

use minijinja::Environment;
use minijinja::value::Serde;
use orchestrate_core::ports::Notice;

/// Steps of rendering; a sentence takes a few dozen.
const FUEL: u64 = 20_000;
const LONGEST: usize = 4_000;

/// What a notice may have; each kind has some of these.
const FIELDS: [&str; 47] = [
    "actor",
    "automatic_hold",
    "blockers",
    "break_glass",
    "completed_at",
    "crossed",
    "deployment_id",
    "duration_ms",
    "environment",
    "error_message",
    "estimated_ms",
    "evidence",
    "expires_at",
    "first",
    "from",
    "from_version",
    "hooks",
    "id",
    "kind",
    "live_version",
    "needed",
    "notification_sent",
    "overrode",
    "path",
    "phases",
    "problems",
    "provider",
    "ready",
    "reason",
    "rejected_at",
    "release",
    "requested_at",
    "rollback_type",
    "service",
    "started_at",
    "status",
    "strategy",
    "target_version",
    "text",
    "to",
    "trigger",
    "type",
    "url",
    "used_by",
    "version",
    "votes",
    "what",
];
/// Of minijinja's own.
const FUNCTIONS: [&str; 3] = ["range", "dict", "namespace"];

/// What is wrong with a template, and where: line and column, both from 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment
}

/// Whether it can be read, and asks for nothing that no notice has. What one kind does not have is empty there, since each
/// kind has others.
pub fn check(template: &str) -> Result<(), Problem> {
    let environment = environment();
    let read = environment.template_from_str(template).map_err(|error| problem(template, &error))?;
    let known = |name: &String| FIELDS.contains(&name.as_str()) || FUNCTIONS.contains(&name.as_str());
    match read.undeclared_variables(false).into_iter().filter(|name| !known(name)).min() {
        Some(name) => {
            let (line, column) = position(template, template.find(&name).unwrap_or(0));
            Err(Problem { line, column, message: format!("no notice has a `{name}`") })
        }
        None => Ok(()),
    }
}

/// The sentence; what went wrong otherwise.
pub(crate) fn render(template: &str, notice: &Notice) -> Result<String, Problem> {
    let mut values = notice.payload.clone();
    values["kind"] = notice.kind.as_str().into();
    values["type"] = notice.kind.event_type().into();
    let mut text =
        environment().render_str(template, Serde(&values)).map_err(|error| problem(template, &error))?;
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
    }
    Ok(text)
}

fn problem(template: &str, error: &minijinja::Error) -> Problem {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let (line, column) = match error.range() {
        Some(range) => position(template, range.start),
        None => (error.line().unwrap_or(1), 1),
    };
    Problem { line, column, message }
}

/// Line and column of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_place() {
        for (template, line, column, words) in [
            ("{{ servise }}", 1, 4, "no notice has a `servise`"),
            ("a\nb {% if %}", 2, 9, "unexpected"),
            ("{{ text", 1, 4, "unexpected"),
            ("ä {{ nothing_like_it() }}", 1, 6, "nothing_like_it"),
        ] {
            let found = check(template).unwrap_err();
            assert_eq!((found.line, found.column), (line, column), "{template}: {found}");
            assert!(found.message.contains(words), "{template}: {found}");
        }
    }

    #[test]
    fn what_some_notice_has_and_what_the_template_makes_itself_is_known() {
        for template in [
            "{{ service }} {{ blockers|join(', ') }}",
            "{% for phase in phases %}{{ loop.index }}{{ phase.name }}{% endfor %}",
            "{% set v = target_version or version %}{{ v }}{{ range(3) }}",
        ] {
            assert_eq!(check(template), Ok(()), "{template}");
        }
    }
}
