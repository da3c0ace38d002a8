//! What the parameters of a PostgreSQL URL say, as far as it is our business.

use std::path::Path;

use crate::uri;

const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// The value of a parameter, with its escapes undone.
pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, parameters) = url.split_once('?')?;
    let found =
        parameters.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    Some(unescaped(found.1))
}

/// The daemon works in another directory, where a relative path means another file.
pub(super) fn with_whole_paths(url: &str) -> String {
    let Some((before, parameters)) = url.split_once('?') else { return url.to_owned() };
    let whole = |pair: &str| match pair.split_once('=') {
        Some((key, file)) if FILES.contains(&key) && !unescaped(file).starts_with('/') => {
            let path = std::path::absolute(Path::new(&unescaped(file)));
            path.map_or_else(
                |_| pair.to_owned(),
                |path| format!("{key}={}", uri::path(&path.to_string_lossy())),
            )
        }
        _ => pair.to_owned(),
    };
    let parameters: Vec<String> = parameters.split('&').map(whole).collect();
    format!("{before}?{}", parameters.join("&"))
}

fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (*byte, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &more[2..];
            }
            (byte, _) => {
                bytes.push(if byte == b'+' { b' ' } else { byte });
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_with_their_escapes_undone() {
        let url = "postgres://me:p%3Fw@db/x?sslmode=verify-full&sslrootcert=%2Fetc%2Fmy+ca%20.pem";
        assert_eq!(parameter(url, "sslmode").as_deref(), Some("verify-full"));
        assert_eq!(parameter(url, "sslrootcert").as_deref(), Some("/etc/my ca .pem"));
        assert_eq!(parameter(url, "sslkey"), None);
        assert_eq!(parameter("postgres://db/x", "sslmode"), None);
        assert_eq!(unescaped("100%&%4"), "100%&%4", "what is no escape stays");
    }

    #[test]
    fn the_files_are_named_by_their_whole_paths() {
        let here = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
        let url = with_whole_paths("postgres://db/x?sslrootcert=my%20ca.pem&sslmode=verify-ca");
        assert_eq!(parameter(&url, "sslrootcert"), Some(format!("{here}/my ca.pem")));
        assert_eq!(parameter(&url, "sslmode").as_deref(), Some("verify-ca"));
        for same in
            ["postgres://db/x", "postgres://db/x?sslmode=disable", "postgres://db/x?sslrootcert=/ca.pem"]
        {
            assert_eq!(with_whole_paths(same), same);
        }
    }
}
