//! From a request to its answer: which file, in which coding, which part of it, kept for how long.

use std::io;
use std::path::Path;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use orchestrate_core::environment::Static;
use orchestrate_core::uri;

use super::body::FileBody;
use super::content_type;
use super::pattern::matches;
use super::ranges::{self, Wanted};
use super::serve::VERSION_PATH;
use super::tree::{Content, Page, Tree};

const VERSION: HeaderName = HeaderName::from_static("x-orchestrate-version");
/// A year, as `immutable` says it.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// It may be kept, and is asked for again each time, so that a rollback is seen at once.
const ASK_AGAIN: &str = "no-cache";

/// A site to be served.
#[derive(Debug)]
pub struct Site {
    pub(super) tree: Tree,
    settings: Static,
    pub(super) version: String,
}

type Answer = Response<FileBody>;

/// What is found for a path.
enum Found<'a> {
    File(&'a Page, String, StatusCode),
    /// Its directory, which ends with a slash.
    Elsewhere(String),
    Nothing,
}

impl Site {
    /// Reads all files of the release in that directory. Blocks.
    pub fn read(directory: &Path, settings: Static, version: String) -> io::Result<Self> {
        Ok(Self { tree: Tree::read(&directory.join(&settings.root))?, settings, version })
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = match *request.method() {
            Method::GET | Method::HEAD => self.found(request).await,
            _ => {
                let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED);
                set(&mut refused, ALLOW, "GET, HEAD");
                refused
            }
        };
        set(&mut answer, VERSION, &self.version);
        set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
        if request.method() == Method::HEAD {
            *answer.body_mut() = FileBody::empty();
        }
        answer
    }

    async fn found<B>(&self, request: &Request<B>) -> Answer {
        if request.uri().path() == VERSION_PATH {
            return self.told_version();
        }
        let Some(path) = decoded(request.uri().path()) else { return plain(StatusCode::BAD_REQUEST) };
        match self.look_up(&path, request.headers()) {
            Found::File(page, path, status) => self.file(page, &path, status, request.headers()).await,
            Found::Elsewhere(place) => {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                // Not for ever: another release may have a file there.
                let mut answer = plain(StatusCode::FOUND);
                set(&mut answer, LOCATION, &format!("{place}{query}"));
                answer
            }
            Found::Nothing => plain(StatusCode::NOT_FOUND),
        }
    }

    fn look_up(&self, path: &str, headers: &HeaderMap) -> Found<'_> {
        let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
        let index = &self.settings.index;
        let name = match path {
            "" => index.clone(),
            _ if path.ends_with('/') => format!("{path}{index}"),
            _ => path.to_owned(),
        };
        if let Some(page) = self.tree.file(&name) {
            return Found::File(page, name, StatusCode::OK);
        }
        if self.tree.is_directory(path) && self.tree.file(&format!("{path}/{index}")).is_some() {
            // By its last segment, so that no path can be read as the name of another host.
            let last = path.rsplit('/').next().unwrap_or(path);
            return Found::Elsewhere(format!("./{}/", uri::component(last)));
        }
        let wants_page = headers.get(ACCEPT).is_none_or(|accept| {
            accept.to_str().is_ok_and(|accept| accept.contains("text/html") || accept.contains("*/*"))
        });
        let is_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
        let (instead, status) = match (&self.settings.not_found, self.settings.spa) {
            (_, true) if wants_page && !is_file => (Some(index), StatusCode::OK),
            (page, _) => (page.as_ref(), StatusCode::NOT_FOUND),
        };
        match instead.and_then(|name| Some((self.tree.file(name)?, name))) {
            Some((page, name)) => Found::File(page, name.clone(), status),
            None => Found::Nothing,
        }
    }

    async fn file(&self, page: &Page, path: &str, status: StatusCode, headers: &HeaderMap) -> Answer {
        let (coding, content) = chosen(page, headers);
        let kind = content_type::of(path);
        let mut answer = Response::new(FileBody::empty());
        *answer.status_mut() = status;
        set(&mut answer, ETAG, &content.etag);
        let keep = if status == StatusCode::OK { self.keep(path, kind) } else { ASK_AGAIN.to_owned() };
        set(&mut answer, CACHE_CONTROL, &keep);
        if !page.coded.is_empty() {
            set(&mut answer, VARY, "accept-encoding");
        }
        if status == StatusCode::OK && is_known(headers, &content.etag) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return answer;
        }
        set(&mut answer, CONTENT_TYPE, kind);
        if let Some(coding) = coding {
            set(&mut answer, CONTENT_ENCODING, coding);
        }
        let wanted = if status == StatusCode::OK { part(headers, content) } else { Wanted::All };
        let (first, count) = match wanted {
            Wanted::All => (0, content.size),
            Wanted::Part(first, last) => {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{}", content.size));
                (first, last - first + 1)
            }
            Wanted::Nothing => {
                let mut refused = plain(StatusCode::RANGE_NOT_SATISFIABLE);
                set(&mut refused, CONTENT_RANGE, &format!("bytes */{}", content.size));
                return refused;
            }
        };
        set(&mut answer, ACCEPT_RANGES, "bytes");
        set(&mut answer, CONTENT_LENGTH, &count.to_string());
        match FileBody::open(&content.path, first, count).await {
            Ok(body) => *answer.body_mut() = body,
            Err(error) => {
                tracing::error!(path, %error, "a file of the site cannot be read");
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        answer
    }

    fn keep(&self, path: &str, kind: &str) -> String {
        if self.settings.immutable.iter().any(|pattern| matches(pattern, path)) {
            return FOR_EVER.to_owned();
        }
        match self.settings.max_age {
            Some(age) if !content_type::is_page(kind) => {
                format!("public, max-age={}", age.duration().as_secs())
            }
            _ => ASK_AGAIN.to_owned(),
        }
    }

    fn told_version(&self) -> Answer {
        let mut answer = plain(StatusCode::OK);
        *answer.body_mut() = FileBody::text(&self.version);
        set(&mut answer, CONTENT_LENGTH, &self.version.len().to_string());
        set(&mut answer, CACHE_CONTROL, "no-store");
        answer
    }
}

/// An answer of ours, which is not to be kept.
fn plain(status: StatusCode) -> Answer {
    let text = match status {
        StatusCode::OK => "",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    let mut answer = Response::new(FileBody::text(text));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut answer, CACHE_CONTROL, ASK_AGAIN);
    set(&mut answer, CONTENT_LENGTH, &text.len().to_string());
    answer
}

/// The best coding that the client takes.
fn chosen<'a>(page: &'a Page, headers: &HeaderMap) -> (Option<&'static str>, &'a Content) {
    let accepted: Vec<&str> =
        headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let takes = |coding: &str| {
        accepted.iter().flat_map(|value| value.split(',')).any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
            named && !parts.any(is_zero)
        })
    };
    let coded = page.coded.iter().find(|(coding, _)| takes(coding));
    coded.map_or((None, &page.plain), |(coding, content)| (Some(*coding), content))
}

fn is_zero(weight: &str) -> bool {
    weight.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight == 0.0))
}

/// Whether the client has this very content already.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag
    })
}

fn part(headers: &HeaderMap, content: &Content) -> Wanted {
    let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else { return Wanted::All };
    // A part of what is another content by now would make a file of two.
    match headers.get(IF_RANGE) {
        Some(known) if known.as_bytes() != content.etag.as_bytes() => Wanted::All,
        _ => ranges::wanted(range, content.size),
    }
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

/// The path with `%41` as `A`; none if it is not UTF-8 then, or holds a NUL.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}
