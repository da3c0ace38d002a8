//! HTTP/1 requests as RFC 9112 has them, written a second time and as plainly as possible, so that what the proxy makes of a
//! stream can be held against it. Nothing is forgiven, but for a bare LF at the end of a head's line where [`Lines`] says so.

/// What ends a line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// What we send.
    CrLf,
    /// What we take: RFC 9112 lets a recipient recognise a single LF.
    LfToo,
}

/// A request whose head is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Vec<u8>,
    /// As an origin server is asked: without scheme and authority.
    pub target: Vec<u8>,
    /// Of an absolute target, else of the header.
    pub host: Option<Vec<u8>>,
    /// As much of the body as has come, without its framing.
    pub body: Vec<u8>,
    /// The body has come to its end.
    pub whole: bool,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind a whole message.
    Clean,
    /// Inside of one.
    Early,
    /// With what is not HTTP, or leaves open where a message ends.
    Invalid(&'static str),
}

impl Request {
    /// Whether `sent` is this request on its way to an instance, or the beginning of it.
    pub fn leads_to(&self, sent: &Self) -> bool {
        let head = self.method == sent.method
            && self.target == sent.target
            && (self.host.is_none() || self.host == sent.host);
        let body =
            if sent.whole { self.whole && self.body == sent.body } else { self.body.starts_with(&sent.body) };
        head && body
    }
}

/// The requests of a stream up to the first byte that is not one, and what comes there.
pub fn requests(stream: &[u8], lines: Lines) -> (Vec<Request>, End) {
    let mut reader = Reader { rest: stream, lines };
    let mut found = Vec::new();
    loop {
        // A client may send an empty line too many between requests.
        while reader.rest.starts_with(b"\r\n") || (lines == Lines::LfToo && reader.rest.starts_with(b"\n")) {
            reader.rest = &reader.rest[usize::from(reader.rest[0] == b'\r') + 1..];
        }
        if reader.rest.is_empty() {
            return (found, End::Clean);
        }
        let (mut request, framing) = match reader.head() {
            Ok(head) => head,
            Err(end) => return (found, end),
        };
        let end = reader.body(&mut request.body, framing);
        request.whole = end.is_ok();
        found.push(request);
        if let Err(end) = end {
            return (found, end);
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

struct Reader<'a> {
    rest: &'a [u8],
    lines: Lines,
}

type Read<T> = Result<T, End>;

fn must(fact: bool, what: &'static str) -> Read<()> {
    if fact { Ok(()) } else { Err(End::Invalid(what)) }
}

impl<'a> Reader<'a> {
    fn line(&mut self, lines: Lines) -> Read<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(End::Early)?;
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        let bare = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None if lines == Lines::LfToo => line,
            None => return Err(End::Invalid("a bare LF")),
        };
        must(!bare.contains(&b'\r'), "a bare CR")?;
        self.rest = rest;
        Ok(bare)
    }

    fn head(&mut self) -> Read<(Request, Framing)> {
        let (method, target, is_newer) = request_line(self.line(self.lines)?)?;
        let (mut hosts, mut lengths, mut codings) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let line = self.line(self.lines)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = field(line)?;
            match name.to_ascii_lowercase().as_slice() {
                b"host" => hosts.push(value.to_vec()),
                b"content-length" => lengths.push(value),
                b"transfer-encoding" => codings.push(value),
                _ => {}
            }
        }
        must(hosts.len() <= 1, "two hosts")?;
        let (target, authority) = origin_form(target);
        must(!is_newer || !hosts.is_empty() || authority.is_some(), "no host")?;
        let host = authority.or(hosts.pop());
        let framing = framing(&lengths, &codings, is_newer)?;
        Ok((Request { method: method.to_vec(), target, host, body: Vec::new(), whole: false }, framing))
    }

    fn body(&mut self, body: &mut Vec<u8>, framing: Framing) -> Read<()> {
        let Framing::Length(length) = framing else { return self.chunks(body) };
        self.take(body, length)
    }

    fn take(&mut self, body: &mut Vec<u8>, length: usize) -> Read<()> {
        let (now, rest) = self.rest.split_at(length.min(self.rest.len()));
        body.extend_from_slice(now);
        self.rest = rest;
        if now.len() == length { Ok(()) } else { Err(End::Early) }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Read<()> {
        loop {
            let line = self.line(Lines::CrLf)?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let extension = &line[digits..];
            must(
                extension.is_empty() || extension.trim_ascii_start().starts_with(b";"),
                "a chunk's size that is none",
            )?;
            let size = std::str::from_utf8(&line[..digits]).ok();
            let size = size.and_then(|size| u32::from_str_radix(size, 16).ok());
            let size = size.ok_or(End::Invalid("a chunk's size that is none"))?;
            if size == 0 {
                return self.trailers();
            }
            self.take(body, usize::try_from(size).unwrap_or(usize::MAX))?;
            match self.rest {
                [b'\r', b'\n', rest @ ..] => self.rest = rest,
                [] | [b'\r'] => return Err(End::Early),
                _ => return Err(End::Invalid("a chunk longer than its size")),
            }
        }
    }

    fn trailers(&mut self) -> Read<()> {
        loop {
            let line = self.line(Lines::CrLf)?;
            if line.is_empty() {
                return Ok(());
            }
            field(line)?;
        }
    }
}

fn request_line(line: &[u8]) -> Read<(&[u8], &[u8], bool)> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else { return Err(End::Invalid("a first line that is none")) };
    must(is_token(method), "a method that is none")?;
    let printable = |byte: &u8| *byte > b' ' && *byte != 0x7f && *byte != b'#';
    must(!target.is_empty() && target.iter().all(printable), "a target that is none")?;
    match version {
        b"HTTP/1.1" => Ok((method, target, true)),
        b"HTTP/1.0" => Ok((method, target, false)),
        _ => Err(End::Invalid("another version")),
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(good)
}

fn field(line: &[u8]) -> Read<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(End::Invalid("a line without a colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    must(is_token(name), "a name that is none")?;
    must(value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "a control character")?;
    Ok((name, value.trim_ascii()))
}

fn framing(lengths: &[&[u8]], codings: &[&[u8]], is_newer: bool) -> Read<Framing> {
    match (lengths, codings) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) => {
            must(length.iter().all(u8::is_ascii_digit), "a length that is none")?;
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or(End::Invalid("a length that is none"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && is_newer => Ok(Framing::Chunked),
        _ => Err(End::Invalid("framing that is not certain")),
    }
}

/// The target as an origin server is asked, and the authority that stood before it.
fn origin_form(target: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let scheme = target.windows(3).position(|three| three == b"://");
    let Some(scheme) = scheme.filter(|_| !target.starts_with(b"/")) else { return (target.to_vec(), None) };
    let rest = &target[scheme + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let root: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    ([root, path].concat(), Some(authority.to_vec()))
}
