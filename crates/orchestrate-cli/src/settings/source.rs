//! The text of a config file, its positions, and the lines of it that an error may show.

use std::ops::Range;

use super::error::{ConfigError, Snippet};
use super::yaml::Place;

/// A longer line is cut around the mark.
const WIDEST: usize = 120;

pub(super) struct Source {
    /// As the person named the file.
    pub name: String,
    pub text: String,
    /// The bytes that are never shown.
    pub masked: Vec<Range<usize>>,
}

impl Source {
    /// An error about the part of the file at `place`.
    pub fn error(&self, code: &'static str, place: Place, message: impl Into<String>) -> ConfigError {
        self.noted(code, place, message, "")
    }

    /// The same, with a few words beside the mark.
    pub fn noted(
        &self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        note: &str,
    ) -> ConfigError {
        ConfigError::new(code, self.name.clone(), message).snippet(self.snippet(place, note))
    }

    /// Line and column, both counted from one, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column)
    }

    /// The line at `place`, or what stands around the place in a long line.
    pub fn snippet(&self, place: Place, note: &str) -> Snippet {
        let start = self.boundary(place.start);
        let line = self.line_at(start);
        let mut shown = line.clone();
        if line.len() > WIDEST {
            shown.start = self.boundary(line.start.max(start.saturating_sub(WIDEST / 3)));
            shown.end = self.boundary(line.end.min(shown.start + WIDEST));
        }
        let mark = start..self.boundary(place.end).clamp(start, shown.end);
        let (mut text, mut mark) = self.visible(shown.clone(), mark);
        if shown.start > line.start {
            text.insert(0, '…');
            mark.0 += 1;
        }
        if shown.end < line.end {
            text.push('…');
        }
        let (line, column) = self.position(start);
        Snippet { line, column, text, mark, note: note.to_owned() }
    }

    /// Whether any of the line around `offset` must not be shown.
    pub fn is_masked_near(&self, offset: usize) -> bool {
        let line = self.line_at(self.boundary(offset));
        self.masked.iter().any(|mask| mask.start <= line.end && line.start <= mask.end)
    }

    /// The line around an offset, without its line feed.
    fn line_at(&self, offset: usize) -> Range<usize> {
        let start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |newline| offset + newline);
        start..end
    }

    /// A line as characters that are safe to print, and where the mark lies among them.
    fn visible(&self, line: Range<usize>, mark: Range<usize>) -> (String, (usize, usize)) {
        let masks: Vec<_> =
            self.masked.iter().filter(|mask| mask.start < line.end && line.start < mask.end).collect();
        let mut shown = Vec::new();
        let (mut first, mut last) = (None, None);
        let mut hidden = None;
        for (offset, c) in self.text[line.clone()].char_indices() {
            let offset = line.start + offset;
            if offset >= mark.start {
                first.get_or_insert(shown.len());
            }
            if offset >= mark.end {
                last.get_or_insert(shown.len());
            }
            let mask = masks.iter().position(|mask| mask.contains(&offset));
            match mask {
                Some(_) if mask == hidden => {}
                Some(_) => shown.extend(['*'; 3]),
                None if c == '\r' => {}
                None if c == '\t' => shown.push(' '),
                None if c.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
                None => shown.push(c),
            }
            hidden = mask;
        }
        let first = first.unwrap_or(shown.len());
        let last = last.unwrap_or(shown.len());
        (shown.iter().collect::<String>().trim_end().to_owned(), (first, last.saturating_sub(first)))
    }

    fn boundary(&self, offset: usize) -> usize {
        (0..=offset.min(self.text.len()))
            .rev()
            .find(|offset| self.text.is_char_boundary(*offset))
            .unwrap_or(0)
    }
}
