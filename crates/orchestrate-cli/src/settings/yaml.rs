//! The config file as a tree that knows where each of its parts stands.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, MergeKeyPolicy, MessageFormatter as _, NonFiniteFloatPolicy, Options, Spanned,
    UserMessageFormatter,
};

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub start: usize,
    pub end: usize,
}

impl Place {
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub place: Place,
}

/// What a value is. Numbers and booleans keep the text they were written as, so that `1.10` stays `1.10`.
#[derive(Debug)]
pub(super) enum Kind {
    Nothing,
    Boolean(bool, String),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Why the text is not YAML that we take, and where.
pub(super) struct Unreadable {
    pub message: String,
    pub place: Place,
}

/// Parses one document. Aliases and merge keys work, within limits that stop a file from growing when it is read.
pub(super) fn parse(text: &str) -> Result<Node, Unreadable> {
    serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options())
        .map(|raw| node(raw, text))
        .map_err(|error| unreadable(&error, text))
}

fn options() -> Options {
    let limits = serde_saphyr::budget! {
        max_depth: 24,
        flow_nesting_limit: 24,
        max_events: 200_000,
        max_nodes: 100_000,
        max_anchors: 100,
        max_aliases: 200,
        max_merge_keys: 100,
    };
    serde_saphyr::options! {
        budget: limits,
        // Duplicates are found by the reader, which can show both lines.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000, max_replay_stack_depth: 8 },
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // A snippet of the parser's would show secrets.
        with_snippet: false,
    }
}

fn unreadable(error: &serde_saphyr::Error, text: &str) -> Unreadable {
    let start = error.location().map_or(0, |at| match at.span().byte_offset() {
        Some(offset) => usize::try_from(offset).unwrap_or(0).min(text.len()),
        None => offset_of(text, at.line(), at.column()),
    });
    let message = match error.without_snippet() {
        serde_saphyr::Error::Budget { .. }
        | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasExpansionLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => {
            "the config file has more parts, nests deeper or repeats more aliases than any service needs"
                .to_owned()
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "the config file has more than one YAML document (`---`)".to_owned()
        }
        other => format!("the config file is not valid YAML: {}", UserMessageFormatter.format_message(other)),
    };
    Unreadable { message, place: Place { start, end: start } }
}

/// The byte offset of a line and a column, both counted from one, the column in characters.
fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let skip = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(line) = text.split_inclusive('\n').nth(skip(line)) else { return text.len() };
    let before = line.as_ptr() as usize - text.as_ptr() as usize;
    before + line.char_indices().nth(skip(column)).map_or(line.trim_end().len(), |(offset, _)| offset)
}

enum Raw {
    Nothing,
    Boolean(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let place = place(&raw, text);
    let written = || text.get(place.range()).unwrap_or_default().trim().to_owned();
    let kind = match raw.value {
        Raw::Nothing => Kind::Nothing,
        Raw::Boolean(value) => Kind::Boolean(value, written()),
        Raw::Number => Kind::Number(written()),
        Raw::Text(value) => Kind::Text(value),
        Raw::List(items) => Kind::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => {
            Kind::Map(entries.into_iter().map(|(key, value)| (node(key, text), node(value, text))).collect())
        }
    };
    Node { kind, place }
}

/// Where the value itself stands, also if it was reached by an alias.
fn place(raw: &Spanned<Raw>, text: &str) -> Place {
    let span = raw.defined.span();
    let bytes = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    let start = bytes(span.byte_offset()).unwrap_or(0).min(text.len());
    let end = start.saturating_add(bytes(span.byte_len()).unwrap_or(0)).min(text.len());
    Place { start, end }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
