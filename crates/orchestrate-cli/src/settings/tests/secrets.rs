//! No error, no snippet and no `Debug` shows a secret value of the file or of the environment.

use std::path::Path;

use super::{read, with};
use crate::settings::from_str;

const SECRET: &str = "hunter2";

/// Files that are refused for a reason near a secret, or within one.
fn refused() -> Vec<String> {
    let mut files = vec![
        with("secrets: { A: hunter2, A: hunter2 }"),
        with("secrets: { A: [hunter2] }"),
        with("secrets: { A: { B: hunter2 } }"),
        with("secrets: { 1: hunter2 }"),
        with("secrets: { 1A: hunter2 }"),
        with("secrets: hunter2"),
        with("secrets: [hunter2]"),
        with("secrets:\n  A: |\n    hunter2\n    hunter2\n  1B: >\n    hunter2\n    x"),
        with("secrets:\n  A: \"x hunter2\n    hunter2\"\n  B: [\"hunter2\"]"),
        with("secrets: { A: \"hunter2 ${NOT_SET}\" }"),
        with("secrets: { A: \"hunter2 ${\" }"),
        with("secrets: { A: \"hunter2\\0\" }"),
        with("secretz: { A: hunter2 }"),
        with("Secret: { A: hunter2 }"),
        with("sercets: { A: hunter2 }"),
        with("secrets: { A: hunter2 }, zzz: 1"),
        with("secrets: { A: hunter2"),
        with("secrets: { A: 'hunter2 }\nurl: x"),
        with("secrets:\n  A: hunter2: x"),
        with("secrets:\n  A: *hunter2"),
        with("secrets:\n  A: @hunter2"),
        with("secrets:\n  A: %hunter2"),
        with("secrets:\n  A: `hunter2"),
        with("secrets:\n  A: !hunter2 x"),
        with("secrets:\n  A: !!int hunter2"),
        with("secrets:\n  A: \"hunter2\nhunter2\"\n]"),
        with("") + "    secrets:\n      A: \"hunter2\nhunter2\n",
        with("secrets:\n  A: \"\\hunter2\""),
        with("secrets:\n  A: |9x hunter2"),
        with("secrets:\n  A: hunter2\n B: x"),
        with("secrets:\n\tA: hunter2"),
        with("secrets:\n- hunter2: [}"),
        with("secrets:\n- hunter2: x"),
        with("? secrets\n: { A: hunter2: [ }"),
        with("\"secrets\" : { A: hunter2: [ }"),
        with("url: &a hunter2\nsecrets: { A: *a, B: [*a] }"),
        with("secrets: {\n  A: hunter2,\nB: hunter2 hunter2: [}"),
        with("secrets: { A: &a hunter2, B: *b }"),
        with("") + "notifications: [{ type: webhook, url: x, secret: hunter2 }]\n",
        with("") + "notifications: [{ type: webhook, url: http://x, secret: hunter2, on: [x] }]\n",
        with("") + "notifications:\n  - secret: hunter2\n    type: slack\n",
        with("") + "notifications:\n  - secret: hunter2\n   type: slack\n",
        with("") + "notifications: [{ type: pagerduty, routing_key: hunter2, on: [x] }]\n",
        with("") + "notifications: [{ type: slack, token: hunter2 }]\n",
        with("")
            + "notifications: [{ type: email, server: \"smtp//u:hunter2@mail\", from: a@x, to: [a@x] }]\n",
        with("")
            + "notifications: [{ type: email, server: \"smtp://u:hunter2@mail\", from: ops, to: [a@x] }]\n",
        with("") + "secrets: { A: hunter2 }\n",
        with("") + "environments: { secrets: hunter2 }\n",
    ];
    // A control character makes the parser stop wherever it stands.
    files.push(with("secrets: { A: hun\u{1}ter2 }").replace("hun\u{1}ter2", "hunter2\u{1}"));
    files
}

#[test]
fn an_error_never_shows_a_secret_of_the_file() {
    for text in refused() {
        let error = read(&text).expect_err(&text);
        for shown in [error.render(false), error.render(true), error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(SECRET), "{text}\n{shown}");
        }
        let error = orchestrate_core::Error::from(error);
        assert!(
            !format!("{error:?} {} {:?}", error.full_message(), error.hint_text()).contains(SECRET),
            "{text}"
        );
    }
}

#[test]
fn an_error_never_shows_a_value_of_the_environment() {
    let lines = [
        "drain: ${X}",
        "url: ${X}",
        "health_check: { path: \"${X}\" }",
        "health_check: { timeout: \"${X}\" }",
        "windows: [{ from: \"${X}\", to: \"10:00\" }]",
        "provider: ${X}",
        "release: { artifact: \"{${X}}\" }",
        "release: { git: { repository: ., ref: \"-${X}\" } }",
        "checks: [{ name: \"\\n${X}\", command: [x] }]",
    ];
    let listen = with("").replace("[./shop]", "[./shop], listen: \"${X}\"");
    let service = with("").replace("service: shop", "service: \"$ ${X}\"");
    for text in lines.iter().map(|line| with(line)).chain([listen, service]) {
        let error = from_str(Path::new("x"), &text, &|_| Some(SECRET.into()), None).expect_err(&text);
        for shown in [error.render(false), error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(SECRET), "{text}\n{shown}");
        }
    }
}

#[test]
fn a_loaded_file_does_not_show_its_secrets() {
    let text = with("secrets: { A: hunter2 }")
        + "notifications: [{ type: webhook, url: \"http://x\", secret: hunter2 }]\n";
    let file = read(&text).unwrap();
    assert!(!format!("{file:?}").contains(SECRET));
}

#[test]
fn a_reference_is_shown_so_that_it_can_be_found() {
    let error = read(&with("secrets: { A: \"${NOT_SET}\", B: hunter2 }")).unwrap_err();
    assert!(
        error.render(false).contains("secrets: { A: \"${NOT_SET}\", B: *** }"),
        "{}",
        error.render(false)
    );
    assert_eq!(error.position(), Some((6, 20)));
}
