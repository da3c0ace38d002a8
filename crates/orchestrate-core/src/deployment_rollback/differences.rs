//! What differs between two releases, one setting a line; of secrets only the versions.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::release::Contents;

/// One thing that differs between two releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// In the order in which a person asks: what is it, how is it set, what runs.
pub fn differences(from: &Contents, to: &Contents) -> Vec<Difference> {
    let mut found = Vec::new();
    let (old, new) = (named(from), named(to));
    for section in SECTIONS {
        let of = |all: &Named| all.get(section).cloned().unwrap_or_default();
        let (old, new) = (of(&old), of(&new));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (from, to) = (old.get(name).cloned(), new.get(name).cloned());
            if from != to {
                let what = if name.is_empty() { section.to_owned() } else { format!("{section} {name}") };
                found.push(Difference { what, from, to });
            }
        }
    }
    found
}

const SECTIONS: [&str; 8] =
    ["artifact", "schema", "irreversible", "setting", "variable", "secret", "process", "hook"];

/// Values by their name, by section.
type Named = BTreeMap<&'static str, BTreeMap<String, String>>;

fn named(contents: &Contents) -> Named {
    let mut all = Named::new();
    let mut put = |section, name: &str, value: String| {
        all.entry(section).or_default().insert(name.to_owned(), value);
    };
    put("artifact", "", contents.artifact.digest.short().to_owned());
    if let Some(key) = &contents.artifact.signed_by {
        put("artifact", "signed by", key.clone());
    }
    if let Some(schema) = &contents.data.schema {
        let [first, last] = schema.reads;
        put("schema", "", format!("reads {first} to {last}, writes {}", schema.writes));
    }
    if let Some(what) = &contents.data.irreversible {
        put("irreversible", "", what.clone());
    }
    for (name, value) in &contents.variables {
        put("variable", name, value.clone());
    }
    for (name, version) in &contents.secrets {
        put("secret", name, format!("version {version}"));
    }
    leaves(&json(&contents.settings), "", &mut |name, value| put("setting", name, value));
    for (name, process) in &contents.processes {
        leaves(&json(process), name, &mut |name, value| put("process", name, value));
    }
    for (hook, command) in &contents.hooks {
        leaves(&json(command), hook.as_str(), &mut |name, value| put("hook", name, value));
    }
    all
}

/// Every value that is no mapping, with the way to it: `health_check.path`.
fn leaves(value: &Value, at: &str, put: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let way = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                leaves(member, &way, put);
            }
        }
        Value::Null => {}
        Value::String(text) => put(at, text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => put(at, value.to_string()),
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::ProcessType;
    use crate::stage::Stage;

    #[tokio::test]
    async fn every_setting_is_a_line_of_its_own() {
        let stage = Stage::new().await;
        let from = stage.contents("1.0");
        let mut to = from.clone();
        to.settings.health_check.path = "/up".into();
        to.variables.insert("NEW".into(), "1".into());
        to.secrets.insert("PASSWORD".into(), 2);
        to.processes.get_mut("web").unwrap().instances = 3;
        let work = ProcessType {
            command: vec!["./work".into()],
            instances: 1,
            listen: None,
            confinement: Default::default(),
        };
        to.processes.insert("worker".into(), work);
        let told = |all: Vec<Difference>| -> Vec<String> {
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".into());
            all.iter().map(|one| format!("{}: {} > {}", one.what, side(&one.from), side(&one.to))).collect()
        };
        assert_eq!(
            told(differences(&from, &to)),
            [
                "setting health_check.path: / > /up",
                "variable NEW: - > 1",
                "secret PASSWORD: - > version 2",
                "process web.instances: 2 > 3",
                r#"process worker.command: - > ["./work"]"#,
                "process worker.instances: - > 1",
            ]
        );
        assert!(differences(&from, &from).is_empty());
        assert_eq!(differences(&to, &from).len(), 6);
    }
}
