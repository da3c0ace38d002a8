//! Settings of a static site.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// How its files are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Static {
    /// The directory of the artifact that is served; empty for all of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The file of a directory that answers for it.
    pub index: String,
    /// The file that answers, with status 404, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_found: Option<String>,
    /// Whether the index answers every path that is not that of a file.
    pub spa: bool,
    /// Patterns of paths whose content never changes, because its hash is in the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<String>,
    /// How long other files than pages may be kept without asking again; without it, not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// The link that a web server of the user's serves. Without it, our own program serves the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symlink: Option<String>,
    /// Where releases are put for that web server; beside the link where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub releases: Option<String>,
    /// Where users reach the site: the environment's `url`, where the link moves the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Default for Static {
    fn default() -> Self {
        Self {
            root: String::new(),
            index: "index.html".into(),
            not_found: None,
            spa: false,
            immutable: Vec::new(),
            max_age: None,
            symlink: None,
            releases: None,
            url: None,
        }
    }
}

impl Static {
    /// Whether a link moves the traffic.
    pub fn links(&self) -> bool {
        self.symlink.is_some()
    }

    /// Whether a text is a path, or a pattern of paths, that stays inside of the directory that it begins in.
    pub fn is_inside(text: &str) -> bool {
        let plain = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
        !text.contains(['\0', '\\']) && text.split('/').all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_is_not_inside() {
        for text in ["index.html", "assets/**", "a b/ü.html", "..a/b..c"] {
            assert!(Static::is_inside(text), "{text}");
        }
        for text in ["", "/a", "a/", "../a", "a/../b", "./a", "a//b", "a\\b", "a\0"] {
            assert!(!Static::is_inside(text), "{text}");
        }
    }
}
