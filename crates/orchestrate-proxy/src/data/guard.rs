//! Follows a client's HTTP/1 byte stream from head to head and finds what the parser behind it would forgive: a doubled
//! Content-Length, a Content-Length beside a Transfer-Encoding, a Transfer-Encoding other than `chunked`, a fragment.
//!
//! It must agree with the parser on where a message ends only for messages that the parser accepts; at any other the
//! parser closes the connection. Where the parser is lenient about chunks and trailers, this is not: what they say is where
//! a message ends.

/// A header line that matters and is longer than this is refused.
const LINE: usize = 256;

#[derive(Default)]
pub(super) struct Guard {
    state: State,
    head: Head,
    line: Vec<u8>,
    /// The line is longer than `LINE`.
    long: bool,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Body(u64),
    ChunkSize {
        size: u64,
        part: Part,
    },
    ChunkData(u64),
    Trailers(Trailer),
    /// What follows is not HTTP/1, or ends with the connection.
    Open,
}

/// Where in the line of a chunk's size.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Digits,
    Extension,
    Return,
}

/// Where in the lines behind the last chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailer {
    Start,
    Line,
    Return,
    LastReturn,
}

impl State {
    const CHUNK: Self = Self::ChunkSize { size: 0, part: Part::Start };
}

#[derive(Default)]
struct Head {
    started: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// The bytes before `at` are good; the line that ends there must not reach the parser whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub at: usize,
}

impl Guard {
    /// For a connection that does not speak HTTP/1.
    pub fn open() -> Self {
        Self { state: State::Open, ..Self::default() }
    }

    /// Whether what comes next belongs to a head, begun or not.
    pub fn expects_head(&self) -> bool {
        self.state == State::Head
    }

    /// Whether a head has begun and is not complete.
    pub fn is_inside_head(&self) -> bool {
        self.state == State::Head && (self.head.started || !self.line.is_empty())
    }

    /// Follows the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match &mut self.state {
                State::Open => rest.len(),
                State::Head => {
                    self.feed_head(rest).map_err(|violation| Violation { at: at + violation.at })?
                }
                State::Body(left) | State::ChunkData(left) => {
                    let step = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= step as u64;
                    if *left == 0 {
                        self.after_data();
                    }
                    step
                }
                State::ChunkSize { .. } | State::Trailers(_) => {
                    self.feed_line_of_chunks(rest[0]).ok_or(Violation { at })?;
                    1
                }
            };
        }
        Ok(())
    }

    fn after_data(&mut self) {
        match self.state {
            State::ChunkData(_) => self.state = State::CHUNK,
            _ => self.next_message(),
        }
    }

    fn next_message(&mut self) {
        self.state = State::Head;
        self.head = Head::default();
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.look_for_fragment(&bytes[..end.unwrap_or(bytes.len())])?;
        let Some(end) = end else {
            self.keep(bytes);
            return Ok(bytes.len());
        };
        let good = if self.line.is_empty() && !self.long {
            self.head.line(&bytes[..end], end > LINE)
        } else {
            self.keep(&bytes[..end]);
            let good = self.head.line(&self.line, self.long);
            self.line.clear();
            self.long = false;
            good
        };
        match good {
            Line::Bad => return Err(Violation { at: end }),
            Line::Good => {}
            Line::Last => self.head_is_complete(),
        }
        Ok(end + 1)
    }

    /// The parser drops a fragment, so an instance would be asked for another target than who looked at it before us saw.
    fn look_for_fragment(&self, part: &[u8]) -> Result<(), Violation> {
        let fragment = if self.head.started { None } else { part.iter().position(|byte| *byte == b'#') };
        fragment.map_or(Ok(()), |at| Err(Violation { at }))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE - self.line.len();
        self.long |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn head_is_complete(&mut self) {
        match (self.head.upgrade, self.head.chunked, self.head.length) {
            (true, ..) => self.state = State::Open,
            (false, true, _) => self.state = State::CHUNK,
            (false, false, Some(length)) if length > 0 => self.state = State::Body(length),
            (false, false, _) => self.next_message(),
        }
    }

    /// The lines between the chunks, and those behind the last. Nothing if the byte must not stand there.
    fn feed_line_of_chunks(&mut self, byte: u8) -> Option<()> {
        match &mut self.state {
            State::ChunkSize { size: 0, part: Part::Return } if byte == b'\n' => {
                self.state = State::Trailers(Trailer::Start);
            }
            State::ChunkSize { size, part: Part::Return } if byte == b'\n' => {
                // The data ends with a line's end of its own.
                self.state = State::ChunkData(size.checked_add(2)?);
            }
            State::ChunkSize { size, part } => *part = part.after(byte, size)?,
            State::Trailers(Trailer::LastReturn) if byte == b'\n' => self.next_message(),
            State::Trailers(trailer) => *trailer = trailer.after(byte)?,
            State::Head | State::Body(_) | State::ChunkData(_) | State::Open => {}
        }
        Some(())
    }
}

impl Part {
    fn after(self, byte: u8, size: &mut u64) -> Option<Self> {
        match (self, byte) {
            (Self::Start | Self::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                *size = size.checked_mul(16)?.checked_add(char::from(byte).to_digit(16)?.into())?;
                Some(Self::Digits)
            }
            (Self::Digits, b';') => Some(Self::Extension),
            (Self::Digits | Self::Extension, b'\r') => Some(Self::Return),
            (Self::Extension, b'\n') | (Self::Start | Self::Digits | Self::Return, _) => None,
            (Self::Extension, _) => Some(Self::Extension),
        }
    }
}

impl Trailer {
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Start, b'\r') => Some(Self::LastReturn),
            (Self::Line, b'\r') => Some(Self::Return),
            (Self::Return, b'\n') => Some(Self::Start),
            (Self::Start | Self::Line, b'\n') | (Self::Return | Self::LastReturn, _) => None,
            (Self::Start | Self::Line, _) => Some(Self::Line),
        }
    }
}

enum Line {
    Good,
    Bad,
    /// The empty line that ends a head.
    Last,
}

impl Head {
    fn line(&mut self, line: &[u8], long: bool) -> Line {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return if self.started { Line::Last } else { Line::Good };
        }
        if !self.started {
            self.started = true;
            return Line::Good;
        }
        // Only three names matter, and they begin so.
        if !matches!(line[0] | 0x20, b'c' | b't' | b'u') {
            return Line::Good;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Line::Good };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let good = if name.eq_ignore_ascii_case(b"content-length") {
            !long && self.content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            !long && self.transfer_encoding(value)
        } else {
            self.upgrade |= name.eq_ignore_ascii_case(b"upgrade");
            true
        };
        if good { Line::Good } else { Line::Bad }
    }

    fn content_length(&mut self, value: &[u8]) -> bool {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let good = digits && length.is_some() && self.length.is_none() && !self.chunked;
        self.length = length;
        good
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> bool {
        let good = value.eq_ignore_ascii_case(b"chunked") && !self.chunked && self.length.is_none();
        self.chunked = true;
        good
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
