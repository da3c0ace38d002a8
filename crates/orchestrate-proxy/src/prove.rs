//! Asks the live address, as a user would, and looks which release answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use http::HeaderMap;
use orchestrate_core::name::{ReleaseId, Version};
use orchestrate_core::ports::{PortError, PortErrorKind, PortResult, Proof, Prove};

use crate::http_get::{Answer, get};

/// The proof; nothing where the answer names no release, because the token is not (or no longer) the proxy's.
pub(crate) async fn prove(request: &Prove, token: &str) -> PortResult<Option<Proof>> {
    let address = reachable(request.listen);
    let started = Instant::now();
    let shown =
        if request.directed { format!("{token} {}", request.placement.slot) } else { token.to_owned() };
    let limit = request.timeout.duration();
    let answer = match tokio::time::timeout(limit, asked(request, address, &shown)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(PortError::failed(format!("no answer from {address}: {error}"))),
        Err(_) => {
            let message = format!("no answer from {address} within {}", request.timeout);
            return Err(PortError::new(PortErrorKind::TimedOut, message));
        }
    };
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Some((release, version)) = signature(&answer.headers) else {
        return unsigned(address, &answer);
    };
    judge(request, address, &answer, release, &version)?;
    Ok(Some(Proof { release, version, status: answer.status.as_u16(), micros }))
}

/// When half of the time is over, a second request goes out: one instance that hangs does not speak for the others. The
/// first one goes on, since who is only slow has the whole time.
async fn asked(request: &Prove, address: SocketAddr, shown: &str) -> io::Result<Answer> {
    let ask = || get(address, request.listen, &request.path, Some(("orchestrate-prove", shown)));
    let second = async {
        tokio::time::sleep(request.timeout.duration() / 2).await;
        ask().await
    };
    tokio::select! {
        answer = ask() => answer,
        Ok(answer) = second => Ok(answer),
    }
}

/// The proxy signs what an instance answered; its own refusals bear no name.
fn unsigned(address: SocketAddr, answer: &Answer) -> PortResult<Option<Proof>> {
    if matches!(answer.status.as_u16(), 502..=504) {
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        return Err(PortError::failed(format!("{address} answered {}", answer.status)).detail(text));
    }
    Ok(None)
}

fn signature(headers: &HeaderMap) -> Option<(ReleaseId, Version)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let release = text("orchestrate-release")?.parse().ok()?;
    let version = Version::new(text("orchestrate-version")?).ok()?;
    Some((ReleaseId(release), version))
}

fn judge(
    request: &Prove,
    address: SocketAddr,
    answer: &Answer,
    release: ReleaseId,
    version: &Version,
) -> PortResult<()> {
    let wanted = &request.placement;
    if release != wanted.release || *version != wanted.version {
        return Err(PortError::failed(format!(
            "{address} is answered by {version} (release {release}), not by {} (release {})",
            wanted.version, wanted.release
        )));
    }
    if answer.status.as_u16() != request.expected_status {
        return Err(PortError::failed(format!(
            "{version} answered {} to {}, not {}",
            answer.status.as_u16(),
            request.path,
            request.expected_status
        )));
    }
    if let Some(contains) = &request.contains {
        let text = contains.replace("{version}", wanted.version.as_str());
        let body = String::from_utf8_lossy(&answer.body);
        if !body.contains(&text) {
            let start: String = body.chars().take(200).collect();
            let message = format!("the answer of {version} to {} does not contain {text:?}", request.path);
            return Err(PortError::failed(message).detail(format!("it begins with {start:?}")));
        }
    }
    Ok(())
}

/// An address of every interface is asked by the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
