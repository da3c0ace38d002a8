//! `${NAME}` in a value is read from the environment; `$${` stands for `${`. Done after parsing, so a value that comes
//! from the environment is never read as YAML.

/// A part of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Literal(&'a str),
    /// The name, and where its `${` starts in the value.
    Reference(&'a str, usize),
}

/// A `${` that is not a reference: what is wrong, and where it starts in the value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadReference {
    pub message: String,
    pub offset: usize,
}

pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, BadReference> {
    let mut parts = Vec::new();
    let mut done = 0;
    while let Some(at) = text[done..].find("${").map(|at| done + at) {
        if at > done && text.as_bytes()[at - 1] == b'$' {
            parts.push(Part::Literal(&text[done..at - 1]));
            parts.push(Part::Literal("${"));
            done = at + 2;
            continue;
        }
        parts.push(Part::Literal(&text[done..at]));
        let end = text[at..].find('}').map(|end| at + end).ok_or_else(|| BadReference {
            message: "`${` without a closing `}`; write `$${` for a literal `${`".into(),
            offset: at,
        })?;
        let name = &text[at + 2..end];
        if !is_variable_name(name) {
            return Err(BadReference {
                message: "`${…}` does not hold the name of an environment variable: letters, digits and `_`, not \
                          starting with a digit (defaults such as `${NAME:-x}` are not supported); write `$${` for a \
                          literal `${`"
                    .into(),
                offset: at,
            });
        }
        parts.push(Part::Reference(name, at));
        done = end + 1;
    }
    parts.push(Part::Literal(&text[done..]));
    parts.retain(|part| *part != Part::Literal(""));
    Ok(parts)
}

/// Whether the whole value is one reference.
pub(super) fn is_one_reference(text: &str) -> bool {
    matches!(parts(text).as_deref(), Ok([Part::Reference(..)]))
}

/// Whether `name` may name an environment variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_name_and_an_escape_has_none() {
        use Part::{Literal, Reference};
        assert_eq!(parts("plain $5 {x}").unwrap(), [Literal("plain $5 {x}")]);
        assert_eq!(parts("a${B}c").unwrap(), [Literal("a"), Reference("B", 1), Literal("c")]);
        assert_eq!(parts("$${B}").unwrap(), [Literal("${"), Literal("B}")]);
        assert_eq!(parts("${A}${_B2}").unwrap(), [Reference("A", 0), Reference("_B2", 4)]);
        assert_eq!(parts("ä${A}").unwrap(), [Literal("ä"), Reference("A", 2)]);
        for (text, offset) in
            [("${", 0), ("a${b", 1), ("${}", 0), ("${1}", 0), ("${A:-x}", 0), ("x${a b}", 1)]
        {
            assert_eq!(parts(text).unwrap_err().offset, offset, "{text}");
        }
    }

    #[test]
    fn only_a_bare_reference_is_one_reference() {
        assert!(is_one_reference("${A}"));
        for text in ["x${A}", "${A}${B}", "$${A}", "", "${"] {
            assert!(!is_one_reference(text), "{text}");
        }
    }
}
