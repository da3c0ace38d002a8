//! Files that no person wrote on purpose: too large, not text, hostile, torn, or bit-flipped.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{lookup, sample::CONTRACT, with};
use crate::settings::{ConfigError, from_str, load, template};

/// Generous for a loaded machine, and far below what an unbounded read or expansion takes.
const SOON: Duration = Duration::from_secs(20);

fn load_error(path: &Path) -> ConfigError {
    let begin = Instant::now();
    let error = load(path, &lookup, None).unwrap_err();
    assert!(begin.elapsed() < SOON, "{error} took {:?}", begin.elapsed());
    error
}

fn soon(text: &str) -> Result<(), ConfigError> {
    let begin = Instant::now();
    let result = from_str(Path::new("x"), text, &lookup, None).map(|_| ());
    if let Err(error) = &result {
        assert!(error.render(true).len() < 10_000, "an error of {} bytes", error.render(true).len());
    }
    assert!(begin.elapsed() < SOON, "{:?} for {}…", begin.elapsed(), &text[..40]);
    result
}

#[test]
fn what_is_not_a_config_file_is_refused_with_its_name() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("orchestrate.yaml");
    let missing = load_error(&path);
    assert_eq!((missing.code(), missing.message()), ("ORC-0220", "there is no such config file"));
    assert!(missing.to_string().starts_with(&path.display().to_string()));
    let directory = load_error(home.path());
    assert_eq!((directory.code(), directory.message()), ("ORC-0220", "the config file is a directory"));
    std::fs::write(&path, b"service: shop\nrelease: \xff\n").unwrap();
    let error = load_error(&path);
    assert_eq!((error.code(), error.position()), ("ORC-0222", Some((2, 10))));
    std::fs::write(&path, CONTRACT).unwrap();
    let file = load(&path, &lookup, None).unwrap();
    assert_eq!((file.path.as_path(), file.directory.as_path()), (path.as_path(), home.path()));
}

#[test]
fn a_file_of_ten_megabytes_is_refused_without_reading_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("orchestrate.yaml");
    let line = "    variable: { command: [./shop, serve] }\n";
    std::fs::write(&path, CONTRACT.to_owned() + &line.repeat(10 * 1024 * 1024 / line.len())).unwrap();
    let error = load_error(&path);
    assert_eq!((error.code(), error.message()), ("ORC-0221", "the config file is larger than 1 MiB"));
    // Endless, and with a length of zero to those who ask.
    assert_eq!(load_error(Path::new("/dev/zero")).code(), "ORC-0221");
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_fine() {
    assert!(soon(&format!("\u{feff}{}", CONTRACT.replace('\n', "\r\n"))).is_ok());
    let error = soon(&with("helth_check: x").replace('\n', "\r\n")).unwrap_err();
    assert_eq!(error.position(), Some((6, 5)));
}

#[test]
fn aliases_and_nesting_do_not_explode() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    assert_eq!(soon(&laughs).unwrap_err().code(), "ORC-0223");
    assert_eq!(soon(&format!("service: {}", "[".repeat(100_000))).unwrap_err().code(), "ORC-0223");
    assert_eq!(
        soon(&format!("service: {}1{}", "[".repeat(60), "]".repeat(60))).unwrap_err().code(),
        "ORC-0223"
    );
    let deep: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(soon(&deep).unwrap_err().code(), "ORC-0223");
    let own: String = (0..2000).map(|_| "- ".to_owned()).collect();
    assert!(soon(&format!("service: shop\nrelease:\n {own}")).is_err());
    assert!(soon("service: &a [*a]\n").is_err());
}

#[test]
fn a_large_file_of_anything_is_judged_soon() {
    let many = |line: &str, number: usize| -> String {
        (0..number).map(|i| line.replace('#', &i.to_string())).collect()
    };
    let process = "      p#: { command: [x], listen: \"127.0.0.1:#\" }\n";
    let head = "service: s\nrelease: { artifact: d }\nenvironments:\n  e:\n    processes:\n";
    assert!(soon(&(head.to_owned() + &many(process, 4000).replace("1:0\"", "1:10000\""))).is_ok());
    let secrets = format!(
        "{head}      p: {{ command: [x] }}\n    secrets: {{ {} }}\n    zzz: 1\n",
        many("A#: x, ", 15_000)
    );
    assert_eq!(soon(&secrets).unwrap_err().code(), "ORC-0224");
    let duplicate = format!("{{ service: s, {} service: s }}", many("k#: 1, ", 15_000));
    assert_eq!(soon(&duplicate).unwrap_err().code(), "ORC-0225");
    for piece in [
        "a: ", "? ", "- ", "{ ", "\"", "&a ", "*a ", "!a ", "|\n", "a: b: ", "\t", "# ", "<<: ", "${", ": ",
        "'\n",
    ] {
        assert!(soon(&format!("service: shop\n{}", piece.repeat(300_000 / piece.len()))).is_err(), "{piece}");
    }
}

#[test]
fn an_error_cannot_drive_the_terminal() {
    for line in ["\"\\e[31mkey\": 1", "url: \"\\e[2J\"", "drain: \"\\u202e5s\"", "provider: \"\\r\\nX\""] {
        let text = super::error_of(&with(line));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

/// The contract's file without its comments.
fn compact() -> String {
    CONTRACT
        .lines()
        .map(|line| line.split("  #").next().unwrap_or_default().trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn a_torn_file_never_panics() {
    for (text, step) in [(compact(), 1), (template("shop"), 11)] {
        for end in (0..text.len()).step_by(step).filter(|end| text.is_char_boundary(*end)) {
            let _ = from_str(Path::new("x"), &text[..end], &lookup, None).map_err(|error| error.render(true));
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let text = compact();
    let bytes = text.as_bytes();
    // Each byte is changed in two ways, which differ from byte to byte.
    let mut marks = b"\n\t\0{}[]\"'&*!|>%@`:#-?\\".iter().cycle();
    for (index, byte) in bytes.iter().enumerate() {
        let flipped = byte ^ (1 << (index % 8));
        for changed in marks.next().copied().into_iter().chain([flipped]) {
            let mut text = bytes.to_vec();
            text[index] = changed;
            let text = String::from_utf8_lossy(&text);
            let _ = from_str(Path::new("x"), &text, &lookup, None).map_err(|error| error.render(false));
        }
    }
}

#[test]
fn a_moved_line_never_panics() {
    let lines: Vec<&str> = CONTRACT.lines().collect();
    for from in 0..lines.len() {
        for to in 0..lines.len() {
            let mut moved = lines.clone();
            let line = moved.remove(from);
            moved.insert(to, line);
            let _ = from_str(Path::new("x"), &moved.join("\n"), &lookup, None)
                .map_err(|error| error.render(false));
        }
    }
}
