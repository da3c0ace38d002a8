//! Who has traffic, asked of HAProxy itself: what was done by hand, or lost by a restart, is seen here.

use std::collections::BTreeSet;

use orchestrate_core::name::EnvironmentName;
use orchestrate_core::ports::{BackendView, PortResult, RouterView, SlotView};

use super::HaproxyRouter;
use super::book::{Book, Lane, Placed};
use super::client::Client;
use super::look::{Look, Server};
use super::tell::{Shares, seated};

impl HaproxyRouter {
    pub(super) async fn view(&self, environment: &EnvironmentName) -> PortResult<RouterView> {
        let settings = self.settings(environment).await?;
        let book = self.books.read(environment)?;
        let look = self.look_at(&settings.haproxy, &book).await?;
        let shares = Shares::seen(&book, &look);
        let slots = book.slots.iter().map(|placed| {
            let weight = shares.as_ref().map_or(0, |shares| shares.of(placed.placement.slot));
            slot(placed, &look, weight)
        });
        Ok(RouterView { fence: book.fence, slots: slots.collect() })
    }

    pub(super) async fn look_at(&self, socket: &str, book: &Book) -> PortResult<Look> {
        let backends: BTreeSet<&str> = book.lanes().map(|lane| lane.backend.as_str()).collect();
        Look::at(Client::new(socket), backends).await
    }
}

fn slot(placed: &Placed, look: &Look, weight: u8) -> SlotView {
    let servers = || placed.lanes.iter().flat_map(|lane| in_place(placed, look, lane));
    SlotView {
        slot: placed.placement.slot,
        release: placed.placement.release,
        version: placed.placement.version.clone(),
        weight,
        in_flight: servers().map(|server| server.in_flight).sum(),
        backends: placed.lanes.iter().map(|lane| backend(placed, look, lane)).collect(),
    }
}

fn backend(placed: &Placed, look: &Look, lane: &Lane) -> BackendView {
    let servers: Vec<&Server> = in_place(placed, look, lane).collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    BackendView {
        process: lane.process.clone(),
        listen: lane.listen,
        // An instance that HAProxy forgot is not there, so that it is told again.
        instances: count(servers.len()),
        healthy: count(servers.iter().filter(|server| server.is_healthy()).count()),
        addresses: lane.seats.values().map(|seat| seat.address).collect(),
    }
}

fn in_place<'a>(placed: &'a Placed, look: &'a Look, lane: &'a Lane) -> impl Iterator<Item = &'a Server> {
    seated(placed, look, &lane.backend).filter_map(|(_, server)| server)
}
