//! What a test asks for, a line each: `PROGRAM:POINT=ACTION@VISIT`, such as `daemon:instances/rename=kill@2`.

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The program is killed before it.
    Kill,
    /// The program is killed after it, and nobody is told that it was done.
    KillAfter,
    /// The program stops before it, until somebody wakes it up.
    Stop,
    /// It fails and is not done.
    Error,
    /// The same, for want of space on the disk.
    Full,
    /// It is done, and what is told is that it failed.
    Lose,
}

impl Action {
    const ALL: [(Self, &str); 6] = [
        (Self::Kill, "kill"),
        (Self::KillAfter, "kill-after"),
        (Self::Stop, "stop"),
        (Self::Error, "error"),
        (Self::Full, "full"),
        (Self::Lose, "lose"),
    ];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(action, _)| *action)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// None: whichever program comes there.
    program: Option<String>,
    point: String,
    pub action: Action,
    /// Which of the program's visits is meant, from 1.
    visit: u32,
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let (place, what) = line.split_once('=')?;
        let (program, point) = match place.split_once(':') {
            Some((program, point)) => (Some(program.to_owned()), point),
            None => (None, place),
        };
        let (action, visit) = match what.split_once('@') {
            Some((action, visit)) => (action, visit.parse().ok()?),
            None => (what, 1),
        };
        Some(Self { program, point: point.to_owned(), action: Action::parse(action)?, visit })
    }

    pub fn is_for(&self, program: &str, point: &str, visit: u32) -> bool {
        self.program.as_deref().is_none_or(|meant| meant == program)
            && self.point == point
            && self.visit == visit
    }
}

/// The rules of a text; empty lines and those that begin with `#` say nothing. A line that is none is given back.
pub fn read(text: &str) -> Result<Vec<Rule>, &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| Rule::parse(line).ok_or(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_who_where_what_and_when() {
        let rules = read("# 7\ndaemon:instances/rename=kill-after@3\n\nrouter/switch=lose\n").unwrap();
        let expected = [
            Rule {
                program: Some("daemon".into()),
                point: "instances/rename".into(),
                action: Action::KillAfter,
                visit: 3,
            },
            Rule { program: None, point: "router/switch".into(), action: Action::Lose, visit: 1 },
        ];
        assert_eq!(rules, expected);
        assert!(rules[0].is_for("daemon", "instances/rename", 3));
        assert!(!rules[0].is_for("daemon", "instances/rename", 2));
        assert!(!rules[0].is_for("proxy", "instances/rename", 3));
        assert!(rules[1].is_for("command", "router/switch", 1));
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for wrong in ["router/switch", "router/switch=explode", "router/switch=kill@x"] {
            assert_eq!(read(&format!("a=kill\n{wrong}")), Err(wrong));
        }
    }
}
