//! From what the book says to what HAProxy is told, and back: which shares its servers have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use orchestrate_core::slot::Slot;

use super::book::{Book, Lane, Placed};
use super::look::{Look, Server};
use super::share::{percent, spread, weights};

/// The address of a server that nobody stands behind.
pub(super) const NOWHERE: &str = "127.0.0.1";
pub(super) const NO_PORT: u16 = 1;

/// What a server should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    address: SocketAddr,
    weight: u32,
}

/// The commands that make HAProxy as the book says. First what gets traffic is brought up, then what loses it goes down, so
/// that there is no moment without a server.
pub(super) fn commands(book: &Book, look: &Look) -> Vec<String> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (backend, servers) in &look.backends {
        let wanted = wanted(book, backend);
        for server in servers {
            let name = format!("{backend}/{}", server.name);
            match wanted.get(server.name.as_str()) {
                Some(wanted) => bring_in(&name, server, *wanted, &mut first, &mut last),
                None => take_out(&name, server, &mut last),
            }
        }
    }
    first.append(&mut last);
    first
}

fn bring_in(name: &str, server: &Server, wanted: Wanted, first: &mut Vec<String>, last: &mut Vec<String>) {
    let set = |what: String| format!("set server {name} {what}");
    let weight = set(format!("weight {}", wanted.weight));
    if server.address != Some(wanted.address) {
        if !server.is_out() {
            first.push(set("state maint".into()));
        }
        first.push(set(format!("addr {} port {}", wanted.address.ip(), wanted.address.port())));
        first.push(weight);
        first.push(set("state ready".into()));
        return;
    }
    if server.effective() > wanted.weight {
        last.push(weight);
    } else if server.weight != wanted.weight {
        first.push(weight);
    }
    if !server.is_in() {
        first.push(set("state ready".into()));
    }
}

fn take_out(name: &str, server: &Server, last: &mut Vec<String>) {
    if !server.is_out() {
        last.push(format!("set server {name} state maint"));
    }
    let nowhere = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), NO_PORT);
    if server.address != Some(nowhere) {
        last.push(format!("set server {name} addr {NOWHERE} port {NO_PORT}"));
    }
}

/// What each server of a backend should be, by its name.
fn wanted<'a>(book: &'a Book, backend: &str) -> BTreeMap<&'a str, Wanted> {
    let weights = weights_of(book, backend);
    let seats = book.lanes().filter(|lane| lane.backend == backend).flat_map(|lane| &lane.seats);
    seats
        .map(|(name, seat)| {
            let weight = weights.get(name.as_str()).copied().unwrap_or(0);
            (name.as_str(), Wanted { address: seat.address, weight })
        })
        .collect()
}

/// The weight of each server of a backend, from the shares of the slots.
fn weights_of<'a>(book: &'a Book, backend: &str) -> BTreeMap<&'a str, u32> {
    let lane = |slot: Slot| {
        let placed = book.in_slot(slot)?;
        Some((placed.weight, placed.lanes.iter().find(|lane| lane.backend == backend)?))
    };
    let [blue, green] = Slot::ALL.map(lane);
    let count = |lane: Option<(u8, &Lane)>| {
        lane.map_or(0, |(_, lane)| u32::try_from(lane.seats.len()).unwrap_or(u32::MAX))
    };
    let share = |lane: Option<(u8, &Lane)>| lane.map_or(0, |(share, _)| share);
    // Who is alone has all of what there is; nobody has anything before the first switch.
    let blue_part = match (share(blue), share(green)) {
        (0, 0) => None,
        (0, _) => Some(0),
        (_, 0) => Some(100),
        (part, _) => Some(part),
    };
    let weights = blue_part.map(|part| weights(part, count(blue), count(green)));
    let (first, second) = weights.map_or(((0, 0), (0, 0)), |weights| (weights.first, weights.second));
    let names = |lane: Option<(u8, &'a Lane)>| {
        lane.into_iter().flat_map(|(_, lane)| in_order(lane)).map(|(_, name)| name)
    };
    let mut all = spread(names(blue), first);
    all.extend(spread(names(green), second));
    all
}

/// The servers of a lane by their number: `blue2` comes before `blue10`.
fn in_order(lane: &Lane) -> BTreeSet<(usize, &str)> {
    lane.seats.keys().map(|name| (name.len(), name.as_str())).collect()
}

/// The shares that HAProxy really gives, each slot's in percent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares(BTreeMap<Slot, u8>);

impl Shares {
    pub fn of(&self, slot: Slot) -> u8 {
        self.0.get(&slot).copied().unwrap_or(0)
    }

    /// Nothing, where HAProxy gives nobody any: it was started anew, or somebody else took everything out.
    pub fn seen(book: &Book, look: &Look) -> Option<Self> {
        let backends: BTreeSet<&str> = book.lanes().map(|lane| lane.backend.as_str()).collect();
        let told = |backend: &str| weights_of(book, backend).values().any(|weight| *weight > 0);
        let each: Vec<_> = backends
            .into_iter()
            .map(|backend| (shares_of(book, look, backend), told(backend)))
            .filter(|(shares, told)| shares.is_some() || *told)
            .map(|(shares, _)| shares)
            .collect();
        if each.iter().all(Option::is_none) {
            return None;
        }
        // Process types that do not agree were left so by an HAProxy that ended in the middle.
        let part = |slot: Slot| {
            let sum: usize = each.iter().flatten().map(|shares| usize::from(shares[&slot])).sum();
            u8::try_from((sum + each.len() / 2) / each.len()).unwrap_or(100)
        };
        Some(Self(Slot::ALL.into_iter().map(|slot| (slot, part(slot))).collect()))
    }
}

fn shares_of(book: &Book, look: &Look, backend: &str) -> Option<BTreeMap<Slot, u8>> {
    let told = weights_of(book, backend);
    let mut as_told = true;
    let mut sums: BTreeMap<Slot, u32> = BTreeMap::new();
    for placed in &book.slots {
        for (name, server) in seated(placed, look, backend) {
            let weight = server.map_or(0, Server::effective);
            as_told &= told.get(name) == Some(&weight);
            *sums.entry(placed.placement.slot).or_default() += weight;
        }
    }
    let all: u32 = sums.values().sum();
    if all == 0 {
        return None;
    }
    let share = |slot: Slot| match book.in_slot(slot) {
        // To the last percent, which a sum of weights may be too coarse for.
        Some(placed) if as_told => placed.weight,
        _ => percent(sums.get(&slot).copied().unwrap_or(0), all),
    };
    Some(Slot::ALL.into_iter().map(|slot| (slot, share(slot))).collect())
}

/// The servers that stand for a release's instances; none, where HAProxy has another address there.
pub(super) fn seated<'a>(
    placed: &'a Placed,
    look: &'a Look,
    backend: &'a str,
) -> impl Iterator<Item = (&'a str, Option<&'a Server>)> {
    let lanes = placed.lanes.iter().filter(move |lane| lane.backend == backend);
    lanes.flat_map(move |lane| {
        lane.seats.iter().map(move |(name, seat)| {
            let server = look.server(backend, name).filter(|server| server.address == Some(seat.address));
            (name.as_str(), server)
        })
    })
}
