//! The only place where a step meets the world.

use std::collections::BTreeMap;
use std::pin::Pin;

use crate::name::{EnvironmentName, Fence};
use crate::plan::{Place, Share, Step};
use crate::ports::{
    AwaitHealthy, Backend, Close, Counts, Deregister, Drain, Fetch, Instance, Placement, PortResult, Ports,
    Processes, Prove, Register, StartRequest, StopRequest, Switch,
};
use crate::release::Release;
use crate::time::Span;
use crate::traffic::Shift;

/// Makes sure of the fact that the step stands for. Boxed, because it is the largest part of every future that it is in.
pub fn perform<'a>(
    ports: &'a Ports,
    environment: &'a EnvironmentName,
    fence: Fence,
    release: &'a Release,
    step: &'a Step,
) -> Pin<Box<dyn Future<Output = PortResult<()>> + Send + 'a>> {
    Box::pin(ensure(ports, environment, fence, release, step))
}

async fn ensure(
    ports: &Ports,
    environment: &EnvironmentName,
    fence: Fence,
    release: &Release,
    step: &Step,
) -> PortResult<()> {
    let placement = step.place().placement(environment);
    match step {
        Step::Fetch(_) => ports.provider.fetch(&Fetch::of(release)).await,
        Step::Start(_, processes) => ports
            .provider
            .start(&StartRequest { placement, processes: *processes, fence, counts: None })
            .await
            .map(drop),
        Step::AwaitHealthy(_, processes) => {
            let deadline = release.contents.settings.health_check.deadline;
            let request =
                AwaitHealthy { placement: placement.clone(), processes: *processes, deadline, counts: None };
            let instances = ports.provider.await_healthy(&request).await?;
            match processes {
                Processes::All | Processes::Routed => {
                    let backends = backends(release, &instances);
                    ports.router.register(&Register { placement, backends, fence, drain: None }).await
                }
                Processes::Unrouted => Ok(()),
            }
        }
        Step::Grow(_, to, _) => grow(ports, placement, release, to, fence).await,
        Step::Shrink(_, to, _) => shrink(ports, placement, release, to, fence).await,
        Step::Wait(_, span) => {
            ports.clock.sleep(*span).await;
            Ok(())
        }
        Step::ShiftTraffic(place, share) => {
            let needs = share.needs.clone().unwrap_or_else(|| needs(release));
            let request = shift(environment, place, share, share.weight, needs, fence);
            ports.router.shift(&request).await
        }
        Step::ProveShare(place) => prove(ports, environment, release, place, true).await,
        Step::SwitchTraffic(_) => {
            ports.router.switch(&Switch { placement, needs: needs(release), fence }).await
        }
        Step::ProveLive(place) => prove(ports, environment, release, place, false).await,
        Step::Drain(_) => {
            let deadline = release.contents.settings.drain;
            ports.router.drain(&Drain { placement: placement.clone(), deadline, fence }).await?;
            let (slot, release) = (placement.slot, placement.release);
            ports
                .router
                .deregister(&Deregister { environment: environment.clone(), slot, release, fence })
                .await
        }
        Step::Close(_) => ports.router.close(&Close { environment: environment.clone(), fence }).await,
        // Its operation runs it, because only that knows whether it ran already.
        Step::Hook(..) => Ok(()),
        Step::Stop(_, processes) => {
            ports.provider.stop(&StopRequest { placement, processes: *processes, fence, counts: None }).await
        }
    }
}

/// Has the first ones of each process type run, be ready, and be known.
pub(super) async fn grow(
    ports: &Ports,
    placement: Placement,
    release: &Release,
    to: &Counts,
    fence: Fence,
) -> PortResult<()> {
    let (processes, counts) = (Processes::All, Some(to.clone()));
    let start = StartRequest { placement: placement.clone(), processes, fence, counts };
    ports.provider.start(&start).await?;
    know(ports, placement, release, to, None, fence).await
}

/// Has only the first ones of each process type stay: they are ready, the others get no more requests and end theirs.
pub(super) async fn shrink(
    ports: &Ports,
    placement: Placement,
    release: &Release,
    to: &Counts,
    fence: Fence,
) -> PortResult<()> {
    let drain = Some(release.contents.settings.drain);
    know(ports, placement.clone(), release, to, drain, fence).await?;
    let counts = Some(to.clone());
    ports.provider.stop(&StopRequest { placement, processes: Processes::All, fence, counts }).await
}

async fn know(
    ports: &Ports,
    placement: Placement,
    release: &Release,
    to: &Counts,
    drain: Option<Span>,
    fence: Fence,
) -> PortResult<()> {
    let (processes, counts) = (Processes::All, Some(to.clone()));
    let deadline = release.contents.settings.health_check.deadline;
    let wait = AwaitHealthy { placement: placement.clone(), processes, deadline, counts };
    let backends = backends(release, &ports.provider.await_healthy(&wait).await?);
    ports.router.register(&Register { placement, backends, fence, drain }).await
}

fn needs(release: &Release) -> BTreeMap<String, u32> {
    release.contents.routed().map(|(name, process, _)| (name.to_owned(), process.instances)).collect()
}

pub(super) fn shift(
    environment: &EnvironmentName,
    place: &Place,
    share: &Share,
    weight: u8,
    needs: BTreeMap<String, u32>,
    fence: Fence,
) -> Shift {
    let (placement, rest) = (place.placement(environment), share.rest.placement(environment));
    Shift { placement, weight, rest, needs, rules: share.rules.clone(), fence }
}

/// The routed instances, as the router wants them.
pub(crate) fn backends(release: &Release, instances: &[Instance]) -> Vec<Backend> {
    release
        .contents
        .routed()
        .map(|(name, _, listen)| Backend {
            process: name.to_owned(),
            listen,
            instances: instances
                .iter()
                .filter(|instance| instance.process == name)
                .filter_map(|instance| instance.address.map(|address| (instance.id.clone(), address)))
                .collect::<BTreeMap<_, _>>(),
            health_check: release.contents.settings.health_check.clone(),
        })
        .collect()
}

/// Asks each live address; the one called `web`, or else the first, must also name its version where that is configured.
async fn prove(
    ports: &Ports,
    environment: &EnvironmentName,
    release: &Release,
    place: &Place,
    directed: bool,
) -> PortResult<()> {
    let settings = &release.contents.settings;
    let routed: Vec<_> = release.contents.routed().collect();
    let main = routed.iter().position(|(name, ..)| *name == "web").unwrap_or(0);
    for (index, (_, _, listen)) in routed.iter().enumerate() {
        let version_check = settings.verify.version.as_ref().filter(|_| index == main);
        let (path, expected_status, contains) = match version_check {
            Some(check) => {
                (check.path.clone(), 200, Some(check.contains.replace("{version}", release.version.as_str())))
            }
            None => (settings.health_check.path.clone(), settings.health_check.expected_status, None),
        };
        let placement = place.placement(environment);
        let timeout = settings.health_check.timeout;
        let request =
            Prove { placement, listen: *listen, path, expected_status, contains, timeout, directed };
        ports.router.prove(&request).await?;
    }
    Ok(())
}
