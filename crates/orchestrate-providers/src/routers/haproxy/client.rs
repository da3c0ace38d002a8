//! HAProxy's runtime API: commands in one line over its stats socket, and an answer to each.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use orchestrate_core::ports::{PortError, PortResult};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

/// Half of HAProxy's smallest usual buffer (`tune.bufsize`), which holds a whole line.
const LONGEST_LINE: usize = 8 * 1024;
/// The whole exchange.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an HAProxy may be gone while it is restarted.
const RESTARTING: Duration = Duration::from_millis(500);

/// The stats socket of one HAProxy. Each line of commands has a connection of its own, as HAProxy wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    socket: &'a str,
}

impl<'a> Client<'a> {
    pub const fn new(socket: &'a str) -> Self {
        Self { socket }
    }

    /// The answers, one for each command. HAProxy carries out what fits into a line without a pause in between.
    pub async fn ask(&self, commands: &[String]) -> PortResult<Vec<String>> {
        let mut answers = Vec::with_capacity(commands.len());
        for line in lines(commands) {
            let (text, count) = (line.join(";"), line.len());
            let answered = timeout(PATIENCE, self.exchange(&text)).await;
            let answered = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let said = split(&answered.map_err(|error| self.unreachable(&error))?);
            if said.len() < count {
                return Err(self.cut_off(said.first()));
            }
            answers.extend(said.into_iter().take(count));
        }
        match answers.iter().find(|answer| answer.starts_with("Permission denied")) {
            Some(_) => Err(self.no_admin()),
            None => Ok(answers),
        }
    }

    /// The same for commands that change something; an answer that is not what HAProxy says when it did so is an error.
    pub async fn tell(&self, commands: &[String]) -> PortResult<()> {
        let answers = self.ask(commands).await?;
        match commands.iter().zip(&answers).find(|(_, answer)| !is_done(answer)) {
            None => Ok(()),
            Some((command, answer)) => {
                let first = answer.lines().next().unwrap_or_default();
                Err(PortError::failed(format!("HAProxy refused `{command}`: {first}")).detail(format!(
                    "what it knows: echo 'show servers state' | socat stdio {}",
                    socat(self.socket)
                )))
            }
        }
    }

    async fn exchange(&self, line: &str) -> io::Result<String> {
        let begun = Instant::now();
        loop {
            let said = match self.socket.parse::<SocketAddr>() {
                Ok(address) => match TcpStream::connect(address).await {
                    Ok(stream) => converse(stream, line).await,
                    Err(error) => Err(error),
                },
                Err(_) => match UnixStream::connect(self.socket).await {
                    Ok(stream) => converse(stream, line).await,
                    Err(error) => Err(error),
                },
            };
            // Nothing was said yet, so it may be said again.
            let gone = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            if !said.as_ref().is_err_and(gone) || begun.elapsed() > RESTARTING {
                return said;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn unreachable(&self, error: &io::Error) -> PortError {
        let socket = self.socket;
        let message = format!("HAProxy does not answer at `{socket}`: {}", plainly(error));
        if error.kind() == io::ErrorKind::PermissionDenied {
            // Nothing was asked, so nothing was done.
            return PortError::failed(message).detail(format!(
                "let this user use it; in the global section of haproxy.cfg: stats socket {socket} user {} mode 600 \
                 level admin",
                std::env::var("USER").unwrap_or_else(|_| "USER".into())
            ));
        }
        PortError::unreachable(message).detail(format!(
            "see whether it runs: systemctl status haproxy; its global section needs: stats socket {} level admin",
            in_config(socket)
        ))
    }

    fn cut_off(&self, first: Option<&String>) -> PortError {
        let said = first.map_or_else(String::new, |answer| format!(" after {answer:?}"));
        PortError::unreachable(format!("HAProxy at `{}` broke off{said}", self.socket))
            .detail("see whether it was restarted just now, and try again")
    }

    fn no_admin(&self) -> PortError {
        PortError::failed(format!("HAProxy does not take orders at `{}`: permission denied", self.socket))
            .detail(format!(
                "give its socket the level that may: stats socket {} level admin",
                in_config(self.socket)
            ))
    }
}

/// The socket as `stats socket` of haproxy.cfg names it.
fn in_config(socket: &str) -> String {
    match socket.parse::<SocketAddr>() {
        Ok(address) => format!("ipv4@{address}"),
        Err(_) => format!("{socket} mode 600"),
    }
}

/// The socket as socat names it.
pub(super) fn socat(socket: &str) -> String {
    match socket.parse::<SocketAddr>() {
        Ok(address) => format!("tcp:{address}"),
        Err(_) => socket.to_owned(),
    }
}

fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".into(),
        io::ErrorKind::PermissionDenied => "this user may not use the socket".into(),
        io::ErrorKind::ConnectionRefused => "nobody listens".into(),
        io::ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> io::Result<String> {
    stream.write_all(line.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// As many commands in one line as fit.
fn lines(commands: &[String]) -> Vec<&[String]> {
    let (mut lines, mut begin, mut length) = (Vec::new(), 0, 0);
    for (index, command) in commands.iter().enumerate() {
        if length + command.len() > LONGEST_LINE && index > begin {
            lines.push(&commands[begin..index]);
            (begin, length) = (index, 0);
        }
        length += command.len() + 1;
    }
    if begin < commands.len() {
        lines.push(&commands[begin..]);
    }
    lines
}

/// Each answer ends with an empty line; one that says nothing is only that.
fn split(said: &str) -> Vec<String> {
    let (mut answers, mut answer) = (Vec::new(), String::new());
    for line in said.lines() {
        if line.is_empty() {
            answers.push(std::mem::take(&mut answer));
        } else {
            answer.push_str(line);
            answer.push('\n');
        }
    }
    answers
}

/// Silence, or how a change of address is told.
fn is_done(answer: &str) -> bool {
    answer.trim().is_empty() || answer.contains("by 'stats socket command'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_empty_lines() {
        assert_eq!(split("\n\nNo such server.\n\n"), ["", "", "No such server.\n"]);
        assert_eq!(split("a,b\n1,2\n\n\n"), ["a,b\n1,2\n", ""]);
        assert!(is_done(
            "no need to change the addr, port changed from '1' to '2' by 'stats socket command'\n"
        ));
        assert!(!is_done("No such server.\n"));
    }

    #[test]
    fn who_may_not_use_the_socket_is_told_what_lets_him() {
        let error =
            Client::new("/run/haproxy/admin.sock").unreachable(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.kind, orchestrate_core::ports::PortErrorKind::Failed, "nothing was done");
        assert!(error.message.contains("this user may not use the socket"), "{error}");
        assert!(
            error.detail.is_some_and(|detail| detail.contains("stats socket /run/haproxy/admin.sock user "))
        );
    }

    #[test]
    fn a_line_is_never_longer_than_haproxy_takes() {
        let commands: Vec<String> =
            (0..1000).map(|number| format!("set server shop/blue{number} weight 1")).collect();
        let lines = lines(&commands);
        assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 1000);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.join(";").len() <= LONGEST_LINE));
    }
}
