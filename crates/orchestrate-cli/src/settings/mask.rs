//! Which parts of a config file are secret values, so that no error ever shows them.

use std::ops::Range;

use super::interpolate;
use super::yaml::{Kind, Node};

/// Where a channel goes, which often holds a token or a password.
const ADDRESSES: [&str; 2] = ["url", "server"];

/// The values under every key that means a secret, or is near to one by a typing error.
pub(super) fn in_tree(root: &Node, text: &str) -> Vec<Range<usize>> {
    let mut masked = Vec::new();
    collect(root, false, &mut masked);
    for range in &mut masked {
        // A block of text reaches to the start of the next key.
        range.end = range.start + text[range.clone()].trim_end().len();
    }
    masked
}

fn collect(node: &Node, secret: bool, masked: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                let key = if let Kind::Text(key) = &key.kind { key.as_str() } else { "" };
                // The address of a channel may hold a secret; that of an environment does not.
                if key == "notifications" {
                    collect_urls(value, masked);
                }
                collect(value, secret || means_secret(key), masked);
            }
        }
        Kind::List(items) => items.iter().for_each(|item| collect(item, secret, masked)),
        // A value that is only `${NAME}` tells nothing, and is what an error about it must show.
        Kind::Text(text) if interpolate::is_one_reference(text) => {}
        Kind::Text(_) | Kind::Number(_) | Kind::Boolean(..) if secret => masked.push(node.place.range()),
        Kind::Text(_) | Kind::Number(_) | Kind::Boolean(..) | Kind::Nothing => {}
    }
}

fn collect_urls(node: &Node, masked: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| collect_urls(item, masked)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                if matches!(&key.kind, Kind::Text(key) if ADDRESSES.contains(&key.as_str())) {
                    collect(value, true, masked);
                }
            }
        }
        Kind::Text(_) | Kind::Number(_) | Kind::Boolean(..) | Kind::Nothing => {}
    }
}

fn means_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "passwd", "token", "routing_key"].iter().any(|word| key.contains(word))
        || strsim::damerau_levenshtein(&key, "secret") <= 2
        || strsim::damerau_levenshtein(&key, "secrets") <= 2
}

/// The same for a file that could not be parsed: from a word that may name a secret to the end of what belongs to it,
/// by indentation, brackets and quotes. Where that is in doubt, to the end of the file.
pub(super) fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut masked = Vec::new();
    let mut region: Option<Region> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let indent = line.len() - line.trim_start().len();
        if region.as_ref().is_some_and(|region| region.ends_before(body, indent)) {
            region = None;
        }
        if let Some(region) = &mut region {
            region.take(body);
            if !body.trim_start().is_empty() {
                masked.push(offset + indent..offset + body.len());
            }
        } else if let Some(from) = secret_value_start(body) {
            let mut opened = Region {
                indent: body.len() - body.trim_start_matches([' ', '\t', '-']).len(),
                quote: None,
                brackets: 0,
            };
            opened.take(&body[from..]);
            region = Some(opened);
            masked.push(offset + from..offset + body.len());
        }
        offset += line.len();
    }
    masked
}

/// Where the value after the first key that may mean a secret starts in a line.
fn secret_value_start(line: &str) -> Option<usize> {
    if line.trim_start().strip_prefix('?').is_some_and(|key| means_secret(key.trim())) {
        return Some(line.len());
    }
    let mut from = 0;
    for word in line.split_inclusive(':') {
        let key = word.trim_end_matches(':').trim_end_matches(['"', '\'', ' ']);
        let key = &key[key
            .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
            .map_or(0, |at| at + key[at..].chars().next().map_or(1, char::len_utf8))..];
        from += word.len();
        if word.ends_with(':') && (means_secret(key) || ADDRESSES.contains(&key)) {
            return Some(from + line[from..].len() - line[from..].trim_start().len());
        }
    }
    None
}

/// The lines that belong to a key that means a secret.
struct Region {
    indent: usize,
    quote: Option<char>,
    brackets: i32,
}

impl Region {
    fn ends_before(&self, line: &str, indent: usize) -> bool {
        let line = line.trim_start();
        let goes_on = line.is_empty() || line.starts_with(['}', ']', ':']);
        let outside = !goes_on && (indent < self.indent || indent == self.indent && !line.starts_with('-'));
        outside && self.quote.is_none() && self.brackets <= 0
    }

    fn take(&mut self, line: &str) {
        for c in line.chars() {
            match (self.quote, c) {
                (Some(quote), _) if quote == c => self.quote = None,
                (None, '"' | '\'') => self.quote = Some(c),
                (None, '{' | '[') => self.brackets += 1,
                (None, '}' | ']') => self.brackets -= 1,
                _ => {}
            }
        }
    }
}
