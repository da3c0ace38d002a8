//! The proxy on its own, for tests and for those who supervise it themselves; `orchestrate` starts the same code.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use orchestrate_proxy::{ProxyOptions, run};

const USAGE: &str = "usage: orchestrate-proxy --socket FILE --state FILE [--threads N] [--inherit-stdin] [--take-over] \
                     [--limit NAME=MILLISECONDS-OR-COUNT]...\n";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => return complain(&format!("{message}\n{USAGE}"), 2),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            complain(&format!("orchestrate-proxy: {error}{}\n", cause.unwrap_or_default()), 1)
        }
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    use std::io::Write;
    // Without a standard error there is nobody to tell.
    let _ = std::io::stderr().write_all(message.as_bytes());
    ExitCode::from(code)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<ProxyOptions, String> {
    let (mut socket, mut state) = (None, None);
    let mut options = ProxyOptions::new("", "");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--socket" => socket = Some(value()?),
            "--state" => state = Some(value()?),
            "--threads" => {
                options.threads = value()?.parse().map_err(|_| "--threads needs a number".to_owned())?;
            }
            "--limit" => limit(&mut options, &value()?)?,
            "--inherit-stdin" => {
                let stdin = std::io::stdin().as_fd().try_clone_to_owned();
                options.inherit = Some(stdin.map_err(|error| format!("no standard input: {error}"))?);
            }
            "--take-over" => options.take_over = true,
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    options.socket = socket.ok_or("--socket is missing")?.into();
    options.state = state.ok_or("--state is missing")?.into();
    Ok(options)
}

fn limit(options: &mut ProxyOptions, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or("a limit is written NAME=NUMBER")?;
    let number: u64 = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
    let (time, count) = (Duration::from_millis(number), usize::try_from(number).unwrap_or(usize::MAX));
    let limits = &mut options.limits;
    match name {
        "connect" => limits.connect = time,
        "unreachable" => limits.unreachable = time,
        "header_read" => limits.header_read = time,
        "keep_alive" => limits.keep_alive = time,
        "response_header" => limits.response_header = Some(time),
        "stall" => limits.stall = Some(time),
        "tunnel_idle" => limits.tunnel_idle = Some(time),
        "upstream_idle" => limits.upstream_idle = time,
        "shutdown" => limits.shutdown = time,
        "retire" => limits.retire = time,
        "linger" => limits.linger = time,
        "max_connections" => limits.max_connections = count,
        "max_header_bytes" => limits.max_header_bytes = count,
        "max_headers" => limits.max_headers = count,
        "max_body" => limits.max_body = Some(number),
        other => return Err(format!("unknown limit `{other}`")),
    }
    Ok(())
}
