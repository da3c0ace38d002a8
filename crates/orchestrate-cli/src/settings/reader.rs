//! Reading the tree key by key, with one wording for everything that can be wrong with a key or a value.

use orchestrate_core::measure::Measure;

use super::error::{ConfigError, code, shown};
use super::interpolate::{self, Part};
use super::source::Source;
use super::wording::{example, listed, nearest};
use super::yaml::{Kind, Node, Place};

pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
pub(super) type Read<T> = Result<T, ConfigError>;

/// The file being read, and where `${NAME}` is looked up.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub source: &'a Source,
    /// None: a value with `${NAME}` in it stays unread, because nothing uses it now.
    pub lookup: Option<Lookup<'a>>,
}

/// A value with its path.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub reader: Reader<'a>,
    pub node: &'a Node,
    /// As messages name it, e.g. `environments.production.strategy`; empty at the top level.
    pub path: String,
    /// What an error about the whole of it marks: its key.
    pub key: Place,
    /// Its key, if that is one of ours; empty for the user's own keys.
    pub name: &'static str,
}

/// A mapping with known keys.
pub(super) struct Section<'a> {
    field: Field<'a>,
    entries: Vec<(&'a str, Field<'a>)>,
}

impl<'a> Section<'a> {
    pub fn get(&self, key: &str) -> Option<&Field<'a>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, field)| field)
    }

    pub fn required(&self, key: &'static str) -> Read<&Field<'a>> {
        self.get(key).ok_or_else(|| {
            let message = format!("missing key `{key}` {}", self.field.place_name());
            let note = if self.field.path.is_empty() { "" } else { "needs it" };
            let error = self.field.reader.source.noted(code::MISSING_KEY, self.field.key, message, note);
            match example(key) {
                Some(example) => error.hint(format!("write for example `{example}`")),
                None => error,
            }
        })
    }

    /// Gives `slot` the value of the key, if the key is there.
    pub fn set<T>(&self, key: &str, slot: &mut T, read: impl FnOnce(&Field<'a>) -> Read<T>) -> Read<()> {
        if let Some(field) = self.get(key) {
            *slot = read(field)?;
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    /// A mapping whose keys are all among `known`.
    pub fn section(&self, known: &'static [&'static str]) -> Read<Section<'a>> {
        let mut entries = self.entries()?;
        for (name, field) in &mut entries {
            field.name = known
                .iter()
                .find(|known| *known == name)
                .ok_or_else(|| self.unknown_key(name, field.key, known))?;
        }
        Ok(Section { field: self.clone(), entries })
    }

    /// A mapping with keys of the user's, in the order of the file.
    pub fn entries(&self) -> Read<Vec<(&'a str, Field<'a>)>> {
        let Kind::Map(entries) = &self.node.kind else { return Err(self.wrong_type("a mapping")) };
        let mut fields: Vec<(&'a str, Field<'a>)> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            let Kind::Text(name) = &key.kind else {
                let message = format!("a key {} must be a string; write it in quotes", self.place_name());
                return Err(self.reader.source.error(code::WRONG_TYPE, key.place, message));
            };
            if let Some(first) = seen.insert(name.as_str(), key.place) {
                return Err(self.duplicate_key(name, first, key.place));
            }
            let path =
                if self.path.is_empty() { shown(name) } else { format!("{}.{}", self.path, shown(name)) };
            fields.push((name, Field { reader: self.reader, node: value, path, key: key.place, name: "" }));
        }
        Ok(fields)
    }

    pub fn items(&self, expected: &str) -> Read<Vec<Field<'a>>> {
        let Kind::List(items) = &self.node.kind else { return Err(self.wrong_type(expected)) };
        let field = |(index, node): (usize, &'a Node)| {
            let key = Place { start: node.place.start, end: node.place.start + 1 };
            Field { reader: self.reader, node, path: format!("{}[{index}]", self.path), key, name: "" }
        };
        Ok(items.iter().enumerate().map(field).collect())
    }

    /// Text, with `${NAME}` filled in.
    pub fn text(&self) -> Read<String> {
        match &self.node.kind {
            Kind::Text(raw) => Ok(self.resolved(raw)?.unwrap_or_else(|| raw.clone())),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// The same, where a number or a boolean also counts as the text it was written as.
    pub fn loose_text(&self) -> Read<String> {
        match &self.node.kind {
            Kind::Number(text) | Kind::Boolean(_, text) => Ok(text.clone()),
            _ => self.text(),
        }
    }

    /// Text that `parse` takes. Its error goes on after the value as it is written in the file, and must not repeat
    /// what it was given, because that may come from the environment.
    pub fn parsed<T: Default>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Read<T> {
        let Kind::Text(raw) = &self.node.kind else { return Err(self.wrong_type(expected)) };
        match self.resolved(raw)? {
            Some(value) => {
                parse(&value).map_err(|problem| self.bad_value(&format!("{} {problem}", self.quoted(raw))))
            }
            None => Ok(T::default()),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Read<T> {
        let Kind::Text(word) = &self.node.kind else { return Err(self.wrong_type("a string")) };
        if let Some((_, value)) = words.iter().find(|(name, _)| name == word) {
            return Ok(*value);
        }
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let advice = match nearest(word, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("write {}", listed(&names, "or")),
        };
        let message = format!("{}: {} is not known; {advice}", self.path, self.quoted(word));
        Err(self.reader.source.error(code::BAD_VALUE, self.node.place, message))
    }

    /// Whether the value has a `${NAME}` that is not looked up now.
    pub fn is_deferred(&self) -> bool {
        self.reader.lookup.is_none() && matches!(&self.node.kind, Kind::Text(raw) if has_reference(raw))
    }

    pub fn boolean(&self) -> Read<bool> {
        match &self.node.kind {
            Kind::Boolean(value, _) => Ok(*value),
            _ => Err(self.wrong_type("`true` or `false`")),
        }
    }

    pub fn whole_number(&self, range: std::ops::RangeInclusive<u32>) -> Read<u32> {
        let Kind::Number(text) = &self.node.kind else { return Err(self.wrong_type("a whole number")) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            self.bad_value(&format!(
                "{} is not a whole number from {} to {}",
                self.quoted(text),
                range.start(),
                range.end()
            ))
        })
    }

    /// A number, with or without a fraction.
    pub fn number(&self) -> Read<Measure> {
        let Kind::Number(text) = &self.node.kind else { return Err(self.wrong_type("a number")) };
        let number = text.parse().ok().and_then(Measure::new);
        number.ok_or_else(|| self.bad_value(&format!("{} is not a finite number", self.quoted(text))))
    }

    /// The value as messages name it, unless it is a secret by way of an alias.
    fn quoted(&self, raw: &str) -> String {
        let is_masked = self.reader.source.masked.iter().any(|mask| mask.contains(&self.node.place.start));
        if is_masked { "the value".into() } else { format!("`{}`", shown(raw)) }
    }

    /// An error about the value.
    pub fn bad_value(&self, problem: &str) -> ConfigError {
        self.reader.source.error(code::BAD_VALUE, self.node.place, format!("{}: {problem}", self.path))
    }

    /// An error about the whole of it, marked at its key.
    pub fn bad_key(&self, problem: &str) -> ConfigError {
        self.reader.source.error(code::BAD_VALUE, self.key, format!("{}: {problem}", self.path))
    }

    pub fn wrong_type(&self, expected: &str) -> ConfigError {
        let found = match &self.node.kind {
            Kind::Nothing => "nothing",
            Kind::Boolean(..) => "`true` or `false`",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        };
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        let mut message = format!("{path}: expected {expected}, found {found}");
        if let Some(example) = example(self.name) {
            message.push_str(&format!("; write for example `{example}`"));
        } else if expected == "a string" && matches!(self.node.kind, Kind::Number(_) | Kind::Boolean(..)) {
            message.push_str("; write it in quotes");
        }
        let place = if self.node.place.start == self.node.place.end { self.key } else { self.node.place };
        self.reader.source.error(code::WRONG_TYPE, place, message)
    }

    /// The value with every `${NAME}` filled in; none if it has one and nothing is looked up.
    fn resolved(&self, raw: &str) -> Read<Option<String>> {
        if raw.contains('\0') {
            return Err(self.bad_value("the value holds a NUL character"));
        }
        let parts = interpolate::parts(raw).map_err(|bad| {
            let place = self.place_of(&raw[bad.offset..], "${".len());
            self.reader.source.error(code::BAD_VALUE, place, format!("{}: {}", self.path, bad.message))
        })?;
        let mut value = String::with_capacity(raw.len());
        for part in parts {
            match part {
                Part::Literal(text) => value.push_str(text),
                Part::Reference(name, offset) => {
                    let Some(lookup) = self.reader.lookup else { return Ok(None) };
                    let found = lookup(name).ok_or_else(|| self.missing_variable(name, &raw[offset..]))?;
                    value.push_str(&found);
                }
            }
        }
        if value.contains('\0') {
            return Err(self.bad_value("the value holds a NUL character"));
        }
        Ok(Some(value))
    }

    fn missing_variable(&self, name: &str, from: &str) -> ConfigError {
        let place = self.place_of(from, name.len() + "${}".len());
        let message = format!("{}: the environment variable `{}` is not set", self.path, shown(name));
        let hint = if name == "version" {
            "for the version of the release write `{version}`, without `$`".to_owned()
        } else {
            format!("set it before the command, for example `export {}=…`", shown(name))
        };
        self.reader.source.noted(code::MISSING_VARIABLE, place, message, "not set").hint(hint)
    }

    /// Where the value's tail starts in the file; the whole value, where that cannot be told.
    fn place_of(&self, tail: &str, length: usize) -> Place {
        let place = self.node.place;
        let written = self.reader.source.text.get(place.range()).unwrap_or_default();
        match written.rfind(tail) {
            Some(at) => Place { start: place.start + at, end: place.start + at + length.min(tail.len()) },
            None => place,
        }
    }

    fn unknown_key(&self, name: &str, place: Place, known: &[&str]) -> ConfigError {
        let mut message = format!("unknown key `{}` {}", shown(name), self.place_name());
        match nearest(name, known) {
            Some(near) => message.push_str(&format!("; did you mean `{near}`?")),
            None => message.push_str(&format!("; the keys here are {}", listed(known, "and"))),
        }
        self.reader.source.noted(code::UNKNOWN_KEY, place, message, "not a known key")
    }

    fn duplicate_key(&self, name: &str, first: Place, second: Place) -> ConfigError {
        let (line, _) = self.reader.source.position(first.start);
        let message = format!(
            "duplicate key `{}` {}; it is given on line {line} already",
            shown(name),
            self.place_name()
        );
        let error = self.reader.source.noted(code::DUPLICATE_KEY, second, message, "given again");
        error.snippet(self.reader.source.snippet(first, "given first"))
    }

    fn place_name(&self) -> String {
        if self.path.is_empty() { "at the top level".into() } else { format!("in {}", self.path) }
    }
}

fn has_reference(raw: &str) -> bool {
    interpolate::parts(raw).is_ok_and(|parts| parts.iter().any(|part| matches!(part, Part::Reference(..))))
}
