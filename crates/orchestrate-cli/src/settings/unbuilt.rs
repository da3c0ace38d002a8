//! What the config file will know and this version does not do yet. Refused by name, never ignored.
//!
//! Building one of these means taking its line out of the table.

/// A setting, by the end of its path, with the value that is meant (none: the key itself), and what to write today.
pub(super) struct Unbuilt {
    pub setting: &'static str,
    pub value: Option<&'static str>,
    instead: &'static str,
}

const fn value(setting: &'static str, value: &'static str, instead: &'static str) -> Unbuilt {
    Unbuilt { setting, value: Some(value), instead }
}

pub(super) const UNBUILT: &[Unbuilt] =
    &[value("requires_approval", "true", "leave it out, or write `false`")];

/// Why the setting at `path` (with this value, or the key itself) is refused, if it is not built.
pub(super) fn refusal(path: &str, value: Option<&str>) -> Option<String> {
    let path = without_positions(path);
    let is_meant = |entry: &&Unbuilt| {
        entry.value == value
            && path
                .strip_suffix(entry.setting)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let entry = UNBUILT.iter().find(is_meant)?;
    Some(match entry.value {
        Some(value) => format!("`{}: {value}` is not built yet; {}", entry.setting, entry.instead),
        None => format!("`{}` is not built yet; {}", entry.setting, entry.instead),
    })
}

/// `notifications[2].type` as `notifications.type`.
fn without_positions(path: &str) -> String {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
}
