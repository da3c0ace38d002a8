//! Getting the text of a config file: a bounded read, and clear words for what is not text or not YAML.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::error::{ConfigError, code, shown_up_to};
use super::mask;
use super::source::Source;
use super::yaml::{Place, Unreadable};

/// The largest config file; no more than this is read of a larger one.
const LARGEST: u64 = 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&name, &error))?;
    if metadata.is_dir() {
        return Err(ConfigError::new(code::UNREADABLE, name, "the config file is a directory")
            .hint("name the file in it, for example with `--config DIR/orchestrate.yaml`"));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= LARGEST {
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&name, &error))?;
    }
    if metadata.len() > LARGEST || bytes.len() as u64 > LARGEST {
        return Err(ConfigError::new(code::TOO_LARGE, name, "the config file is larger than 1 MiB")
            .hint("a config file has a few kilobytes; check that `--config` names the right file"));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(name, error))
}

fn unreadable(name: &str, error: &std::io::Error) -> ConfigError {
    if error.kind() == ErrorKind::NotFound {
        return ConfigError::new(code::UNREADABLE, name, "there is no such config file")
            .hint("`orchestrate init` writes one; `--config FILE` names another");
    }
    ConfigError::new(code::UNREADABLE, name, format!("the config file cannot be read: {error}"))
}

fn not_utf8(name: String, error: std::string::FromUtf8Error) -> ConfigError {
    let start = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let masked = mask::in_text(&text);
    let source = Source { name, text, masked };
    let place = Place { start, end: start + 1 };
    source.error(code::NOT_TEXT, place, "the config file is not UTF-8 text").hint("save the file as UTF-8")
}

/// The parser's own words, unless the place is near a secret, which they could repeat.
pub(super) fn not_yaml(mut source: Source, unreadable: &Unreadable) -> ConfigError {
    source.masked = mask::in_text(&source.text);
    let at = unreadable.place.start;
    let place = Place { start: at, end: at + 1 };
    let line = source.text[..at.min(source.text.len())].rsplit('\n').next().unwrap_or_default();
    let after = source.text.get(at..).unwrap_or_default();
    if line.chars().all(char::is_whitespace) && (line.contains('\t') || after.starts_with('\t')) {
        let message = "a tab in the indentation; YAML is indented with spaces";
        return source.error(code::NOT_YAML, place, message);
    }
    let message = match source.is_masked_near(at) {
        true => "the config file is not valid YAML here, near a secret; put the secret's value in quotes"
            .to_owned(),
        false => shown_up_to(300, &unreadable.message),
    };
    source.error(code::NOT_YAML, place, message)
}
