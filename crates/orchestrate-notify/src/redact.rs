//! Keeps tokens out of messages: many receivers put theirs into the path or the query of the URL.

use orchestrate_core::secrets::SecretText;
use reqwest::Url;

/// Shorter parts are words like `v1`, not tokens.
const SHORTEST_TOKEN: usize = 4;
const EXCERPT_CHARS: usize = 200;

/// The URL as messages show it: `https://hooks.example/…`.
pub fn masked(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/…", url.scheme(), url.host_str().unwrap_or_default())
}

/// The start of a receiver's answer on one line; nothing, if the answer repeats a part of the URL or the secret.
pub fn excerpt(body: &[u8], url: &Url, secret: Option<&SecretText>) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if private_parts(url, secret).any(|part| text.contains(&part)) {
        return None;
    }
    one_line(&text)
}

/// The start of a text of unknown origin, on one line; nothing, if there is none.
pub fn one_line(text: &str) -> Option<String> {
    let printable = text.replace(|c: char| c.is_control(), " ");
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = line.chars().take(EXCERPT_CHARS).collect();
    (!start.is_empty()).then_some(start)
}

fn private_parts(url: &Url, secret: Option<&SecretText>) -> impl Iterator<Item = String> {
    let user = [url.username().to_owned(), url.password().unwrap_or_default().to_owned()];
    let path = url.path_segments().into_iter().flatten().map(str::to_owned);
    let raw = url.query().into_iter().flat_map(|query| query.split(['&', '='])).map(str::to_owned);
    let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
    let secret = secret.map(|secret| secret.expose().trim_start_matches("whsec_").to_owned());
    let parts: Vec<_> = user.into_iter().chain(path).chain(raw).chain(decoded).collect();
    let long = |part: &String| part.len() >= SHORTEST_TOKEN;
    parts.into_iter().filter(long).chain(secret.filter(|secret| !secret.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_masked_url_shows_where_but_not_what() {
        let shown = masked(&url("https://joe:pa55word@hooks.example:8443/T123/B456?token=abc#part"));
        assert_eq!(shown, "https://hooks.example:8443/…");
        assert_eq!(masked(&url("http://[::1]/x")), "http://[::1]/…");
    }

    #[test]
    fn an_answer_that_repeats_a_token_is_not_shown() {
        let to = url("https://joe:pa55word@hooks.example/services/T0123?token=a%20bcd");
        let secret = SecretText::new("whsec_c2VjcmV0");
        for body in ["no /services/T0123", "bad password pa55word", "token a bcd", "a%20bcd", "key c2VjcmV0?"]
        {
            assert_eq!(excerpt(body.as_bytes(), &to, Some(&secret)), None, "{body}");
        }
        let shown = excerpt(b"  invalid\r\n\x1b[31mpayload ", &to, Some(&secret));
        assert_eq!(shown.as_deref(), Some("invalid [31mpayload"));
        assert_eq!(excerpt(b" \n", &to, None), None);
        assert_eq!(excerpt(&[b'x'; 4_096], &to, None).unwrap().len(), 200);
    }
}
