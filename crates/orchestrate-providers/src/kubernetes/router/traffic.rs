//! Who has traffic, asked of the cluster: the selectors of the Services and the weights of the HTTPRoute.

use std::collections::BTreeMap;

use orchestrate_core::name::ReleaseId;
use orchestrate_core::ports::{BackendView, PortResult, RouterView, SlotView};
use orchestrate_core::slot::Slot;

use super::route::{self, Beside};
use super::service::{self, Role, Service};
use super::share;
use crate::kubernetes::anchor::{self, Anchor, Known};
use crate::kubernetes::api::Kind;
use crate::kubernetes::live;
use crate::kubernetes::names::PROCESS;
use crate::kubernetes::object::Object;
use crate::kubernetes::site::Site;

/// Where requests go now.
pub(super) struct Traffic {
    pub fronts: BTreeMap<String, Service>,
    beside: BTreeMap<String, Beside>,
    /// The pods of the environment, where two releases share by their numbers.
    pods: Vec<Object>,
}

impl Traffic {
    pub async fn look(site: &Site) -> PortResult<Self> {
        let fronts = service::all(site, Role::Front).await?;
        let mut beside = BTreeMap::new();
        if let Some(name) = &site.settings.route {
            for process in fronts.keys() {
                beside.insert(process.clone(), route::shared(site, name, process).await?);
            }
        }
        let is_shared = fronts.values().any(|front| front.shares(&site.names).is_some());
        let pods = match is_shared {
            true => site.cluster.list(Kind::Pod, &site.names.selector()).await?.0,
            false => Vec::new(),
        };
        Ok(Self { fronts, beside, pods })
    }

    /// Whether the Service has its requests go there, as far as it is asked.
    pub fn points_at(&self, site: &Site, process: &str, slot: Slot, known: &Known) -> bool {
        let Some(front) = self.fronts.get(process) else { return false };
        let track = known.track(slot);
        let key = format!("{slot}/{}", known.release.0);
        front.track(&site.names) == Some(track) && (!known.rolls || front.is_live(&key))
    }

    /// The share of what is known in a slot, in percent. Where its process types are not of one mind, it is what they have
    /// together: more than nothing, and less than all.
    pub fn weight(&self, site: &Site, slot: Slot, known: &Known) -> u8 {
        let shares: Vec<u32> =
            known.backends.keys().map(|process| self.share(site, process, slot, known)).collect();
        let count = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        let mean = shares.iter().sum::<u32>().checked_div(count).unwrap_or(0);
        let any = shares.iter().any(|share| *share > 0);
        u8::try_from(mean.max(u32::from(any))).unwrap_or(100)
    }

    fn share(&self, site: &Site, process: &str, slot: Slot, known: &Known) -> u32 {
        if let Some(shares) = self.fronts.get(process).and_then(|front| front.shares(&site.names)) {
            return share::percent(site, &shares, &self.pods, process, slot, known);
        }
        let beside = self.beside.get(process).copied().flatten();
        let there = beside.filter(|(track, _)| *track == known.track(slot));
        let aside = u32::from(beside.map_or(0, |(_, weight)| weight));
        let own = u32::from(there.map_or(0, |(_, weight)| weight));
        if self.points_at(site, process, slot, known) { 100 - aside + own } else { own }
    }
}

pub(super) async fn view(site: &Site) -> PortResult<RouterView> {
    let Anchor { fence, slots } = anchor::look(site).await?;
    if slots.is_empty() {
        return Ok(RouterView { fence, slots: Vec::new() });
    }
    let traffic = Traffic::look(site).await?;
    let (pods, _) = site.cluster.list(Kind::Pod, &site.names.selector()).await?;
    let views = slots.into_iter().map(|(slot, known)| SlotView {
        slot,
        release: known.release,
        version: known.version.clone(),
        weight: traffic.weight(site, slot, &known),
        // Nobody in a cluster knows.
        in_flight: 0,
        backends: known
            .backends
            .iter()
            .map(|(process, told)| {
                let ready = ready(site, &pods, slot, known.release, process);
                let mut addresses: Vec<_> = ready.iter().filter_map(|pod| live::address(pod)).collect();
                addresses.sort_unstable();
                BackendView {
                    process: process.clone(),
                    listen: told.listen,
                    instances: told.instances,
                    healthy: u32::try_from(ready.len()).unwrap_or(u32::MAX),
                    addresses,
                }
            })
            .collect(),
    });
    Ok(RouterView { fence, slots: views.collect() })
}

/// The pods of a process type of a release that could take requests now.
pub(super) fn ready<'a>(
    site: &Site,
    pods: &'a [Object],
    slot: Slot,
    release: ReleaseId,
    process: &str,
) -> Vec<&'a Object> {
    let of = |pod: &&Object| {
        let there = live::placement(pod, &site.names.environment);
        there.is_some_and(|there| there.slot == slot && there.release == release)
            && pod.annotation(PROCESS) == Some(process)
    };
    pods.iter().filter(|pod| live::is_ready(pod)).filter(of).collect()
}

/// Who has the traffic of a process type, for people.
pub(super) fn who(site: &Site, traffic: &Traffic, anchor: &Anchor, process: &str) -> String {
    let live = anchor.slots.iter().find(|(slot, known)| traffic.points_at(site, process, **slot, known));
    live.map_or_else(|| "no release that is known".to_owned(), |(_, known)| known.version.to_string())
}
