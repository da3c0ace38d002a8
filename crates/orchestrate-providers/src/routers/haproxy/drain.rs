//! Waits until nothing is in flight to a release. HAProxy tells nobody when that is, so it is asked.

use std::time::Duration;

use orchestrate_core::ports::{Drain, Drained, PortResult};
use tokio::time::{Instant, sleep};

use super::HaproxyRouter;
use super::client::Client;
use super::look::Look;

/// How often it is asked: soon at first, since most requests are short.
const FIRST: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_millis(50);

impl HaproxyRouter {
    pub(super) async fn drained(&self, request: &Drain) -> PortResult<Drained> {
        let Drain { placement, deadline, fence } = request;
        let mut scene = self.scene(&placement.environment, *fence, &[]).await?;
        // The fence is written down, so that who is older does nothing while this one waits.
        scene.kept.save()?;
        // What is not here has nothing in flight.
        let Ok(placed) = scene.kept.book.placed(placement) else { return Ok(Drained { cut: 0 }) };
        scene.idle(placed)?;
        let servers = placed
            .lanes
            .iter()
            .flat_map(|lane| lane.seats.keys().map(|server| (lane.backend.clone(), server.clone())));
        let servers: Vec<_> = servers.collect();
        let socket = scene.settings.haproxy.clone();
        drop(scene);
        let client = Client::new(&socket);
        let cut = emptied(client, &servers, deadline.duration()).await?;
        if cut > 0 {
            let shut =
                |(backend, server): &(String, String)| format!("shutdown sessions server {backend}/{server}");
            client.tell(&servers.iter().map(shut).collect::<Vec<_>>()).await?;
            emptied(client, &servers, Duration::from_secs(1)).await?;
        }
        Ok(Drained { cut })
    }
}

/// Returns once nothing is in flight to the servers, at the latest after `limit`, with what is then.
pub(super) async fn emptied(
    client: Client<'_>,
    servers: &[(String, String)],
    limit: Duration,
) -> PortResult<u64> {
    let (begun, mut pause, mut quiet) = (Instant::now(), FIRST, false);
    if servers.is_empty() {
        return Ok(0);
    }
    loop {
        let in_flight = in_flight(client, servers).await?;
        if in_flight == 0 && quiet {
            return Ok(0);
        }
        if begun.elapsed() >= limit {
            return Ok(in_flight);
        }
        // A request that chose its server just before counts a moment later, so once is not enough.
        quiet = in_flight == 0;
        sleep(if quiet { FIRST } else { pause.min(limit.saturating_sub(begun.elapsed())) }).await;
        pause = (pause * 2).min(LATER);
    }
}

async fn in_flight(client: Client<'_>, servers: &[(String, String)]) -> PortResult<u64> {
    let mut backends: Vec<&str> = servers.iter().map(|(backend, _)| backend.as_str()).collect();
    backends.dedup();
    let look = Look::at(client, backends).await?;
    let servers = servers.iter().filter_map(|(backend, server)| look.server(backend, server));
    Ok(servers.map(|server| server.in_flight).sum())
}
