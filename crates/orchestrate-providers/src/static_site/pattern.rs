//! Patterns of paths: `*` is anything within one segment, `**` any number of segments.

/// Whether a path is meant by a pattern.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    segments(&pattern, &path)
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| segments(rest, &path[skipped..])),
        (Some((first, rest)), Some((segment, others))) => {
            within(first.as_bytes(), segment.as_bytes()) && segments(rest, others)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// One segment: where a `*` may be of any length, the last one that was seen is made longer.
fn within(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_say() {
        for (pattern, path, wanted) in [
            ("assets/**", "assets/app.1f.js", true),
            ("assets/**", "assets/fonts/a.woff2", true),
            ("assets/**", "other/assets/a", false),
            ("**/*.js", "a.js", true),
            ("**/*.js", "a/b/c.js", true),
            ("**/*.js", "a/b/c.css", false),
            ("*.*.css", "app.1f.css", true),
            ("*.*.css", "app.css", false),
            ("*.css", "a/app.css", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, path), wanted, "{pattern} {path}");
        }
    }
}
