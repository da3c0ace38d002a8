//! Asks the live address, as a user would, and finds out which release answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use orchestrate_core::ports::{Answer, Placement, PortError, PortErrorKind, PortResult, Probe, Proof, Prove};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;

use super::HaproxyRouter;
use super::book::{Book, Placed};
use super::tell::{Shares, seated};
use crate::witness::http;

/// A request with this header is answered with the other one, which names the server; where haproxy.cfg has the two lines
/// for it.
const ASKING: &str = "orchestrate-prove";
const SERVER: &str = "orchestrate-server";

impl HaproxyRouter {
    pub(super) async fn proof(&self, request: &Prove) -> PortResult<Proof> {
        let placement = &request.placement;
        let settings = self.settings(&placement.environment).await?;
        let book = self.books.read(&placement.environment)?;
        if request.directed {
            return self.directed(request, &settings.haproxy, &book).await;
        }
        let address = reachable(request.listen);
        let answer = asked(request, address).await?;
        let (answer, placed) = match answer.headers.get(SERVER) {
            Some(server) => (answer.clone(), named(&book, server)),
            None => {
                // Who has all the traffic before and after is the one that answered in between.
                let before = self.alone(&settings.haproxy, &book).await?;
                let answer = asked(request, address).await?;
                let after = self.alone(&settings.haproxy, &book).await?;
                (answer, before.filter(|_| before == after).and_then(|slot| book.in_slot(slot)))
            }
        };
        let Some(placed) = placed else { return Err(unknown(request)) };
        judge(request, &placed.placement, &answer)?;
        Ok(Proof {
            release: placed.placement.release,
            version: placed.placement.version.clone(),
            status: answer.status,
            micros: answer.micros,
        })
    }

    /// The slot that has all the traffic.
    async fn alone(&self, socket: &str, book: &Book) -> PortResult<Option<Slot>> {
        let look = self.look_at(socket, book).await?;
        let shares = Shares::seen(book, &look);
        Ok(shares.and_then(|shares| Slot::ALL.into_iter().find(|slot| shares.of(*slot) == 100)))
    }

    /// HAProxy takes turns, and cannot be asked for one of two; so an instance is asked itself, one that it sees well.
    async fn directed(&self, request: &Prove, socket: &str, book: &Book) -> PortResult<Proof> {
        let placed = book.placed(&request.placement)?;
        let look = self.look_at(socket, book).await?;
        let lane = placed.lanes.iter().find(|lane| lane.listen == request.listen);
        let well = lane.and_then(|lane| {
            let mut servers = seated(placed, &look, &lane.backend).filter_map(|(_, server)| server);
            servers.find(|server| server.is_healthy())?.address
        });
        let Some(address) = well else {
            let Placement { version, slot, .. } = &request.placement;
            let message =
                format!("no instance of {version} in slot {slot} is ready behind {}", request.listen);
            return Err(PortError::new(PortErrorKind::NotReady, message));
        };
        let answer = asked(request, address).await?;
        judge(request, &request.placement, &answer)?;
        let Placement { release, version, .. } = request.placement.clone();
        Ok(Proof { release, version, status: answer.status, micros: answer.micros })
    }
}

/// When half of the time is over, a second request goes out: one instance that hangs does not speak for the others. The
/// first one goes on, since who is only slow has the whole time.
async fn asked(request: &Prove, address: SocketAddr) -> PortResult<Answer> {
    let probe = Probe {
        address,
        method: "GET".into(),
        path: request.path.clone(),
        headers: BTreeMap::from([
            (ASKING.to_owned(), "1".to_owned()),
            ("host".to_owned(), request.listen.to_string()),
        ]),
        body: None,
        timeout: request.timeout,
    };
    let second = async {
        tokio::time::sleep(half(request.timeout)).await;
        http::request(&probe).await
    };
    let answer = tokio::select! {
        answer = http::request(&probe) => answer,
        Ok(answer) = second => Ok(answer),
    };
    answer.map_err(|error| {
        PortError::new(error.kind, format!("no answer from {address}: {error}"))
            .detail(format!("HAProxy listens there if haproxy.cfg says so: bind {address}"))
    })
}

fn half(timeout: Span) -> Duration {
    timeout.duration() / 2
}

fn named<'a>(book: &'a Book, server: &str) -> Option<&'a Placed> {
    book.slots.iter().find(|placed| placed.lanes.iter().any(|lane| lane.seats.contains_key(server)))
}

fn unknown(request: &Prove) -> PortError {
    PortError::failed(format!(
        "{} answers, but HAProxy gives no release all of the traffic, so which one it was is not known",
        request.listen
    ))
    .detail("have HAProxy name the server: the two lines with `orchestrate-server` in docs/haproxy.md")
}

fn judge(request: &Prove, answered: &Placement, answer: &Answer) -> PortResult<()> {
    let wanted = &request.placement;
    let Placement { version, release, .. } = answered;
    if *release != wanted.release || *version != wanted.version {
        return Err(PortError::failed(format!(
            "{} is answered by {version} (release {release}), not by {} (release {})",
            request.listen, wanted.version, wanted.release
        )));
    }
    if answer.status != request.expected_status {
        return Err(PortError::failed(format!(
            "{version} answered {} to {}, not {}",
            answer.status, request.path, request.expected_status
        )));
    }
    if let Some(contains) = &request.contains {
        let text = contains.replace("{version}", wanted.version.as_str());
        if !answer.body.contains(&text) {
            let start: String = answer.body.chars().take(200).collect();
            let message = format!("the answer of {version} to {} does not contain {text:?}", request.path);
            return Err(PortError::failed(message).detail(format!("it begins with {start:?}")));
        }
    }
    Ok(())
}

/// Where an address is asked from here: one of every interface by the loopback one.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
