//! A drain: nobody of the release is behind a Service any more, and what was in flight had its time.

use std::time::Duration;

use orchestrate_core::ports::{Drain, Drained, PortError, PortErrorKind, PortResult};
use orchestrate_core::time::Timestamp;
use tokio::time::Instant;

use super::endpoints;
use super::traffic::Traffic;
use crate::kubernetes::anchor;
use crate::kubernetes::api::Kind;
use crate::kubernetes::names::Track;
use crate::kubernetes::site::Site;

/// How long the cluster may take to have nobody of the release behind a Service, beside the drain itself.
const LAG: Duration = Duration::from_secs(15);

/// Nobody in a cluster counts requests in flight, so a drain lasts its whole time, from the moment in which the release lost its
/// traffic. One that never had any, or whose pods the cluster itself replaces and drains, has nothing to wait for.
pub(super) async fn drain(site: &Site, request: &Drain) -> PortResult<Drained> {
    let placement = &request.placement;
    let anchor = anchor::claim(site, request.fence).await?;
    let Some(known) = anchor.placed(placement) else { return Ok(Drained { cut: 0 }) };
    let traffic = Traffic::look(site).await?;
    if traffic.weight(site, placement.slot, known) > 0 {
        let error = PortError::failed(format!("{} has traffic, so it is not drained", known.version));
        // Whoever is asked to make room for something else is not the one who may move users away.
        return Err(match traffic.fronts.values().find_map(|front| front.put_back(site)) {
            Some(command) => {
                error.detail(format!("by a selector that was changed by hand; put it back: {command}"))
            }
            None => error,
        });
    }
    if known.track(placement.slot) == Track::Rolling || !known.used {
        return Ok(Drained { cut: 0 });
    }
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector_of(placement)).await?;
    let ours: Vec<&str> = pods.iter().map(|pod| pod.name()).collect();
    let deadline = Instant::now() + LAG;
    for front in traffic.fronts.values() {
        let gone = endpoints::until(site, front.name(), deadline, |behind| {
            (!behind.iter().any(|name| ours.contains(&name.as_str()))).then_some(())
        });
        if gone.await?.is_none() {
            let message = format!("{} is still behind the Service {}", known.version, front.name());
            return Err(PortError::new(PortErrorKind::TimedOut, message));
        }
    }
    let whole = request.deadline.duration();
    let passed = known
        .left_at
        .map_or(Duration::ZERO, |left| Duration::from_millis(Timestamp::system_now().millis_since(left)));
    tokio::time::sleep(whole.saturating_sub(passed)).await;
    Ok(Drained { cut: 0 })
}
