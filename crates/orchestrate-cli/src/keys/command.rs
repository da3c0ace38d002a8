//! A command that prints keys, one a line, the newest first: how a vault hands them out.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orchestrate_core::secrets::{KeyRing, SecretKey};
use orchestrate_core::{Error, Result};
use tokio::io::AsyncReadExt as _;
use zeroize::{Zeroize as _, Zeroizing};

const PATIENCE: Duration = Duration::from_secs(10);
/// No list of keys is longer.
const MOST_BYTES: usize = 4096;

/// The words of a command: a JSON list as it stands, anything else by means of a shell.
pub fn words(text: &str) -> Result<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return Ok(["/bin/sh", "-c", text].map(str::to_owned).to_vec());
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|program| !program.is_empty()) => Ok(words),
        Ok(_) => Err(useless("names no program")),
        Err(_) => Err(useless("starts like a list and is none")),
    }
}

fn useless(why: &str) -> Error {
    Error::usage("ORC-0236", format!("ORCHESTRATE_KEY_COMMAND {why}")).hint(
        r#"write for example ORCHESTRATE_KEY_COMMAND='["vault", "kv", "get", "-field=key", "secret/orchestrate"]'"#,
    )
}

/// Runs it and reads the keys that it prints. What it prints is never shown.
pub async fn run(words: &[String]) -> Result<KeyRing> {
    run_within(words, PATIENCE).await
}

async fn run_within(words: &[String], patience: Duration) -> Result<KeyRing> {
    let (program, arguments) = words.split_first().ok_or_else(|| useless("names no program"))?;
    let failed = |why: String| {
        Error::failed("ORC-0235", format!("the key command `{program}` {why}"))
            .hint("type it yourself; it must print a key of 32 bytes, as 64 hexadecimal digits or in base64")
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| failed(format!("cannot be run: {cause}")))?;
    let mut output = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    let whole = async {
        if let Some(stdout) = &mut child.stdout {
            stdout.take(MOST_BYTES as u64 + 1).read_to_end(&mut output).await?;
        }
        // What prints for ever is ended, not waited for.
        if output.len() > MOST_BYTES { Ok(None) } else { child.wait().await.map(Some) }
    };
    match tokio::time::timeout(patience, whole).await {
        Err(_) => Err(failed(format!("did not end within {patience:?}"))),
        Ok(Err(cause)) => Err(failed(format!("cannot be read: {cause}"))),
        Ok(Ok(None)) => Err(failed(format!("printed more than {MOST_BYTES} bytes, which is no key"))),
        Ok(Ok(Some(status))) if !status.success() => Err(failed(format!("ended with {status}"))),
        Ok(Ok(Some(_))) => {
            keys(&output).ok_or_else(|| failed(format!("printed {} bytes that are no key", output.len())))
        }
    }
}

fn keys(output: &[u8]) -> Option<KeyRing> {
    let lines = std::str::from_utf8(output).ok()?.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut keys = lines.map(key).collect::<Option<Vec<_>>>()?.into_iter();
    let newest = KeyRing::new(keys.next()?);
    Some(keys.fold(newest, KeyRing::and))
}

fn key(line: &str) -> Option<SecretKey> {
    let mut bytes = hexadecimal(line).or_else(|| STANDARD.decode(line).ok())?;
    let key = SecretKey::from_bytes(&bytes).ok();
    bytes.zeroize();
    key
}

fn hexadecimal(line: &str) -> Option<Vec<u8>> {
    if line.len() != 64 || !line.is_ascii() {
        return None;
    }
    (0..64).step_by(2).map(|at| u8::from_str_radix(line.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn printing(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn code(result: Result<KeyRing>) -> (&'static str, String) {
        let error = result.err().unwrap();
        (error.code(), error.full_message())
    }

    #[tokio::test]
    async fn keys_are_read_in_both_ways_of_writing_and_the_first_is_the_newest() {
        let bytes: Vec<u8> = (0..32).collect();
        let other = STANDARD.encode([7; 32]);
        let ring = run(&printing(&format!("echo; echo {HEX}; echo {other}"))).await.ok().unwrap();
        assert_eq!(ring.newest().as_bytes(), bytes);
        assert!(ring.find(&SecretKey::from_bytes(&[7; 32]).unwrap().fingerprint()).is_some());
    }

    #[tokio::test]
    async fn what_is_no_key_is_refused_and_not_repeated() {
        let cases = [
            ("echo hunter2", "printed 8 bytes that are no key"),
            ("true", "printed 0 bytes that are no key"),
            ("yes hunter2", "printed more than 4096 bytes"),
            ("echo hunter2 >&2; echo hunter2; exit 7", "ended with exit status: 7"),
            (&format!("echo {HEX}; echo hunter2"), "that are no key"),
        ];
        for (script, wanted) in cases {
            let (code, message) = code(run(&printing(script)).await);
            assert_eq!(code, "ORC-0235");
            assert!(message.contains(wanted) && !message.contains("hunter2"), "{script}: {message}");
        }
        let missing = ["/no/such/program".to_owned()];
        assert!(code(run(&missing).await).1.contains("cannot be run"));
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let (code, message) = code(run_within(&printing("exec sleep 1000"), Duration::from_millis(50)).await);
        assert_eq!(code, "ORC-0235");
        assert!(message.contains("did not end within 50ms"), "{message}");
    }

    #[test]
    fn a_list_is_run_as_it_stands_and_a_text_by_a_shell() {
        assert_eq!(words(r#"["vault", "a b; $(x)"]"#).unwrap(), ["vault", "a b; $(x)"]);
        assert_eq!(words("pass show key").unwrap(), ["/bin/sh", "-c", "pass show key"]);
        for wrong in ["[", "[]", r#"[""]"#, "[1]"] {
            assert_eq!(words(wrong).unwrap_err().code(), "ORC-0236", "{wrong}");
        }
    }
}
