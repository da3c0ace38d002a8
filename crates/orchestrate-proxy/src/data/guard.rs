//! Follows a client's HTTP/1 byte stream from head to head and finds what the parser behind it would forgive: a doubled
//! Content-Length, a Content-Length beside a Transfer-Encoding, a Transfer-Encoding other than `chunked`.
//!
//! It must agree with the parser on where a message ends only for messages that the parser accepts; at any other the
//! parser closes the connection.

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
        digits: bool,
    },
    ChunkData(u64),
    Trailers {
        empty: bool,
    },
    /// What follows is not HTTP/1, or ends with the connection.
    Open,
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
                State::ChunkSize { .. } => self.feed_chunk_size(rest),
                State::Trailers { .. } => self.feed_trailers(rest),
            };
        }
        Ok(())
    }

    fn after_data(&mut self) {
        match self.state {
            State::ChunkData(_) => self.state = State::ChunkSize { size: 0, digits: true },
            _ => self.next_message(),
        }
    }

    fn next_message(&mut self) {
        self.state = State::Head;
        self.head = Head::default();
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
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

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE - self.line.len();
        self.long |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn head_is_complete(&mut self) {
        match (self.head.upgrade, self.head.chunked, self.head.length) {
            (true, ..) => self.state = State::Open,
            (false, true, _) => self.state = State::ChunkSize { size: 0, digits: true },
            (false, false, Some(length)) if length > 0 => self.state = State::Body(length),
            (false, false, _) => self.next_message(),
        }
    }

    fn feed_chunk_size(&mut self, bytes: &[u8]) -> usize {
        let State::ChunkSize { size, digits } = &mut self.state else { return 0 };
        for (index, byte) in bytes.iter().enumerate() {
            match (byte, char::from(*byte).to_digit(16)) {
                (b'\n', _) => {
                    let data = State::ChunkData(size.saturating_add(2));
                    self.state = if *size == 0 { State::Trailers { empty: true } } else { data };
                    return index + 1;
                }
                (_, Some(digit)) if *digits => *size = size.saturating_mul(16).saturating_add(digit.into()),
                _ => *digits = false,
            }
        }
        bytes.len()
    }

    fn feed_trailers(&mut self, bytes: &[u8]) -> usize {
        let State::Trailers { empty } = &mut self.state else { return 0 };
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if *empty => {
                    self.next_message();
                    return index + 1;
                }
                b'\n' => *empty = true,
                b'\r' => {}
                _ => *empty = false,
            }
        }
        bytes.len()
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
