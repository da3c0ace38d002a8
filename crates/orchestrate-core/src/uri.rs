//! Text as a part of a URI (RFC 3986).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// As one segment of a path, or as a value of a query: only what is reserved for nothing stays as it is.
pub fn component(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The same, with its slashes.
pub fn path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_is_reserved_for_nothing_stays() {
        assert_eq!(super::component("a-B.9_~ /?&ü%"), "a-B.9_~%20%2F%3F%26%C3%BC%25");
        assert_eq!(super::path("/run/my file"), "/run/my%20file");
    }
}
