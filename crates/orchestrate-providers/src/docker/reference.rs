//! How images are called: `REGISTRY/REPOSITORY:TAG`, or `…@DIGEST`.

/// Without a tag, the engine would pull all tags.
pub(super) fn with_tag(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains(':') || name.contains('@') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

/// `registry.internal:5000/shop` of `registry.internal:5000/shop:1.0` or `…@sha256:…`.
pub(super) fn repository(reference: &str) -> &str {
    let named = reference.split('@').next().unwrap_or(reference);
    match named.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => named,
    }
}

/// The registry in a reference; none where it means the public one.
pub(crate) fn registry(reference: &str) -> Option<&str> {
    let (first, _) = reference.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart_as_the_engine_does() {
        for (reference, registry_of, repository_of, tagged) in [
            ("shop", None, "shop", "shop:latest"),
            ("team/shop:1.0", None, "team/shop", "team/shop:1.0"),
            ("localhost/shop", Some("localhost"), "localhost/shop", "localhost/shop:latest"),
            (
                "127.0.0.1:5000/shop",
                Some("127.0.0.1:5000"),
                "127.0.0.1:5000/shop",
                "127.0.0.1:5000/shop:latest",
            ),
            ("r.example/a/shop:1.0", Some("r.example"), "r.example/a/shop", "r.example/a/shop:1.0"),
            ("r.example/shop@sha256:00", Some("r.example"), "r.example/shop", "r.example/shop@sha256:00"),
        ] {
            assert_eq!(registry(reference), registry_of, "{reference}");
            assert_eq!(repository(reference), repository_of, "{reference}");
            assert_eq!(with_tag(reference), tagged);
        }
    }
}
