//! The documentation says what is there: codes and pages agree, and no page names what does not exist.

#![expect(clippy::unwrap_used, reason = "a page or a source that cannot be read is a failure of the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SECTIONS: [&str; 4] = ["## What happened", "## What is true now", "## What to do", "## Exit code"];

/// How the parts of a path in backticks may begin; other text in backticks is no path of ours.
const OURS: [&str; 7] = ["crates/", "docs/", "migrations/", "scripts/", ".ci/", "src/", "tests/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files under `directory` whose name ends so.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The codes in a text: `ORC-` and four digits.
fn codes(text: &str) -> BTreeSet<String> {
    let digits = |rest: &str| rest.len() >= 4 && rest.as_bytes()[..4].iter().all(u8::is_ascii_digit);
    text.match_indices("ORC-")
        .filter(|(at, _)| digits(&text[at + 4..]))
        .map(|(at, _)| text[at..at + 8].to_owned())
        .collect()
}

fn codes_in_sources() -> BTreeSet<String> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    crates.flat_map(|source| files(&source, ".rs")).flat_map(|path| codes(&read(&path))).collect()
}

fn error_pages() -> BTreeSet<String> {
    let pages = files(&root().join("docs/errors"), ".md");
    let names = pages.iter().map(|page| page.file_stem().unwrap().to_string_lossy().into_owned());
    names.filter(|name| name != "README").collect()
}

/// What people read: the pages beside the workspace's manifest, and all of `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), ".md");
    let beside = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(beside.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    pages
}

/// The lines inside or outside of fenced blocks; outside is where links and names are meant as such.
fn lines(text: &str, inside: bool) -> Vec<&str> {
    let mut fenced = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced == inside {
            kept.push(line);
        }
    }
    assert!(!fenced, "a fenced block is not closed");
    kept
}

fn prose(text: &str) -> String {
    lines(text, false).join("\n")
}

/// The targets of the links in a page that lead to this repository.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors that a page's headings have, as they are made on GitHub.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        prose(text).lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let anchor = |heading: &String| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    headings.iter().map(anchor).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let (sources, pages) = (codes_in_sources(), error_pages());
    assert!(sources.len() > 50, "the sources were not found: {sources:?}");
    let missing: Vec<_> = sources.difference(&pages).collect();
    let stale: Vec<_> = pages.difference(&sources).collect();
    assert!(missing.is_empty() && stale.is_empty(), "without a page: {missing:?}; without a code: {stale:?}");
}

#[test]
fn the_index_of_errors_lists_every_page() {
    let index = read(&root().join("docs/errors/README.md"));
    for page in error_pages() {
        let title = read(&root().join(format!("docs/errors/{page}.md")));
        let title = title.lines().next().unwrap().trim_start_matches(&format!("# {page}: ")).to_owned();
        let line = format!("| [{page}]({page}.md) | {title} |");
        assert!(index.contains(&line), "the index does not have `{line}`");
    }
}

#[test]
fn every_page_of_an_error_has_its_sections() {
    for page in error_pages() {
        let text = read(&root().join(format!("docs/errors/{page}.md")));
        assert!(text.starts_with(&format!("# {page}: ")), "{page} has no title");
        let mut rest = text.as_str();
        for section in SECTIONS {
            let (_, after) = rest.split_once(&format!("\n{section}\n\n")).unwrap_or_else(|| {
                panic!("{page} lacks `{section}`, or has it in another place");
            });
            rest = after;
            assert!(!rest.trim_start().is_empty() && !rest.starts_with('#'), "{page}: `{section}` is empty");
        }
    }
}

/// The constructor of an error decides the exit code.
#[test]
fn exit_codes_on_the_pages_are_those_of_the_sources() {
    let in_source = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "src");
    let sources: String =
        files(&root().join("crates"), ".rs").iter().filter(in_source).map(|path| read(path)).collect();
    let dense: String = sources.split_whitespace().collect();
    for page in error_pages() {
        let text = read(&root().join(format!("docs/errors/{page}.md")));
        let said = text.split("## Exit code\n\n").nth(1).unwrap();
        for (constructor, code) in
            [("refused", "1"), ("usage", "2"), ("failed", "3"), ("needs_attention", "4")]
        {
            if dense.contains(&format!("Error::{constructor}(\"{page}\"")) {
                assert!(said.starts_with(code), "{page} is made by Error::{constructor}, but says {said:?}");
            }
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for page in documents() {
        for target in links(&prose(&read(&page))) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let place = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let there = || anchor.is_empty() || anchors(&read(&place)).contains(anchor);
            if !place.exists() || !there() {
                dead.push(format!("{} links to {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn no_page_names_a_file_that_does_not_exist() {
    let root = root();
    for page in documents() {
        let text = prose(&read(&page));
        for (index, name) in text.split('`').enumerate() {
            let ours = OURS.iter().any(|start| name.starts_with(start));
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if index % 2 == 0 || !ours || !is_name {
                continue;
            }
            assert!(root.join(name).exists(), "{} names `{name}`, which does not exist", page.display());
        }
    }
}

#[test]
fn every_code_that_a_page_names_exists() {
    let known = codes_in_sources();
    for page in documents() {
        for code in codes(&read(&page)) {
            assert!(known.contains(&code), "{} names {code}, which no source has", page.display());
        }
    }
}

#[test]
fn every_decision_is_in_the_index_and_has_its_sections() {
    let directory = root().join("docs/decisions");
    let index = read(&directory.join("README.md"));
    for page in files(&directory, ".md") {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        assert!(index.contains(&format!("({name})")), "the index does not have {name}");
        for section in ["Status: ", "## Context\n", "## Decision\n", "## Consequences\n"] {
            assert!(read(&page).contains(section), "{name} lacks `{}`", section.trim());
        }
    }
}

#[test]
fn json_examples_are_json() {
    for page in ["docs/json.md", "docs/notifications.md"] {
        let text = read(&root().join(page));
        let examples: Vec<_> = text.split("```json\n").skip(1).collect();
        assert!(!examples.is_empty(), "{page} has no examples");
        for example in examples {
            let json = example.split("```").next().unwrap();
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(json);
            assert!(parsed.is_ok(), "{page}: {} in {json}", parsed.unwrap_err());
        }
    }
}

/// The commands that a page tells to type, in fenced blocks and in backticks.
fn commands(text: &str) -> BTreeSet<String> {
    let fenced = lines(text, true).into_iter().map(|line| line.trim().trim_start_matches("$ "));
    let prose = prose(text).replace('\n', " ");
    let ticked: Vec<&str> = prose.split('`').skip(1).step_by(2).collect();
    let all = fenced.chain(ticked).filter(|line| line.starts_with("orchestrate "));
    let bare = all.map(|line| line.split(" #").next().unwrap_or(line).trim().replace(['[', ']'], " "));
    bare.collect()
}

/// What `--help` prints after these words; none where it is no command.
fn help(words: &[&str]) -> Option<String> {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_orchestrate"));
    let output = program.args(words).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Whether the help lists a subcommand of this name.
fn lists(help: &str, name: &str) -> bool {
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    commands
        .lines()
        .take_while(|line| !line.is_empty())
        .any(|line| line.split_whitespace().next() == Some(name))
}

#[test]
fn every_command_that_a_page_tells_to_type_exists_with_its_options() {
    let top = help(&[]).unwrap();
    for page in documents() {
        for command in commands(&read(&page)) {
            let (mut chain, mut shown) = (Vec::new(), top.clone());
            for word in command.split_whitespace().skip(1) {
                if lists(&shown, word) {
                    chain.push(word);
                    shown = help(&chain).unwrap();
                } else if let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) {
                    let option = option.split(['=', '|']).next().unwrap_or(option);
                    let known =
                        shown.contains(&format!("--{option}")) || top.contains(&format!("--{option}"));
                    assert!(known, "{}: `{command}` has the unknown option --{option}", page.display());
                }
            }
            let only_options = command.split_whitespace().nth(1).is_some_and(|word| word.starts_with('-'));
            assert!(!chain.is_empty() || only_options, "{}: `{command}` is no command", page.display());
        }
    }
}

/// The names that a text has after `ORCHESTRATE_`.
fn variables(text: &str) -> BTreeSet<String> {
    let names = text
        .split("ORCHESTRATE_")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect::<String>());
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_environment_variable_is_explained() {
    let docs = ["docs/operations.md", "docs/service.md", "docs/notifications.md"]
        .map(|page| read(&root().join(page)))
        .concat();
    let explained = variables(&docs);
    let sources = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let sources = sources.filter(|path| !path.ends_with("orchestrate-testkit")).map(|path| path.join("src"));
    for path in sources.flat_map(|source| files(&source, ".rs")) {
        for name in variables(&read(&path)) {
            assert!(explained.contains(&name), "{}: ORCHESTRATE_{name} is explained nowhere", path.display());
        }
    }
}
