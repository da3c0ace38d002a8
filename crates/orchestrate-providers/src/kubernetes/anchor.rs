//! One small ConfigMap an environment: the newest fence that was seen, and which releases are known in its slots.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use orchestrate_core::name::{Fence, ReleaseId, Version};
use orchestrate_core::ports::{Placement, PortError, PortErrorKind, PortResult};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Amended, Kind};
use super::names::{Names, Track};
use super::object::Object;
use super::site::Site;

const FENCE: &str = "orchestrate.dev/fence";
/// Since when each slot has no traffic any more, as JSON; a drain is counted from there.
const KNOWN: &str = "slots";

/// What was registered for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub release: ReleaseId,
    pub version: Version,
    /// The cluster itself put it in the place of the release before.
    pub rolls: bool,
    /// It had traffic, at some time.
    pub used: bool,
    /// Since when it has none any more; a drain is counted from there.
    pub left_at: Option<Timestamp>,
    /// By process type.
    pub backends: BTreeMap<String, Told>,
}

/// What was told of one routed process type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub listen: SocketAddr,
    pub instances: u32,
}

pub(super) type Slots = BTreeMap<Slot, Known>;

#[derive(Clone, Debug, Default)]
pub(super) struct Anchor {
    pub fence: Option<Fence>,
    pub slots: Slots,
}

impl Known {
    pub fn track(&self, slot: Slot) -> Track {
        if self.rolls { Track::Rolling } else { Track::Slot(slot) }
    }
}

impl Anchor {
    pub fn placed(&self, placement: &Placement) -> Option<&Known> {
        self.slots.get(&placement.slot).filter(|known| known.release == placement.release)
    }
}

/// As it is now, without a claim.
pub(super) async fn look(site: &Site) -> PortResult<Anchor> {
    match site.cluster.get(Kind::ConfigMap, &site.names.anchor()).await? {
        Some(object) if site.names.is_ours(&object) => read(&object),
        Some(_) | None => Ok(Anchor::default()),
    }
}

/// Nobody with an older fence has an effect from now on; refuses a fence that is older itself.
pub(super) async fn claim(site: &Site, fence: Fence) -> PortResult<Anchor> {
    write(site, fence, |_| Ok(())).await
}

/// The same, and changes what is known, in one go.
pub(super) async fn write(
    site: &Site,
    fence: Fence,
    mut change: impl FnMut(&mut Slots) -> PortResult<()>,
) -> PortResult<Anchor> {
    let name = site.names.anchor();
    let written = site.cluster.amend(Kind::ConfigMap, &name, |there| {
        let before = match there {
            Some(object) if !site.names.is_ours(object) => return Err(not_ours("ConfigMap", &name)),
            Some(object) => read(object)?,
            None => Anchor::default(),
        };
        if let Some(newest) = before.fence.filter(|newest| *newest > fence) {
            return Err(fenced(&site.names, newest, fence));
        }
        let mut slots = before.slots.clone();
        change(&mut slots)?;
        if there.is_some() && before.fence == Some(fence) && slots == before.slots {
            return Ok(None);
        }
        amended(there, &site.names, fence, &slots).map(Some)
    });
    written.await?.as_ref().map_or_else(|| Ok(Anchor::default()), read)
}

fn amended(there: Option<&Object>, names: &Names, fence: Fence, slots: &Slots) -> PortResult<Amended> {
    let slots = serde_json::to_string(slots)
        .map_err(|cause| PortError::failed(format!("what is known cannot be written: {cause}")))?;
    let Some(there) = there else {
        return Ok(Amended::New(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.anchor(),
                "labels": names.labels(),
                "annotations": { FENCE: fence.0.to_string() },
            },
            "data": { KNOWN: slots },
        })));
    };
    let mut object = there.clone();
    object.annotate(FENCE, Some(fence.0.to_string()));
    object.0["data"] = json!({ KNOWN: slots });
    Ok(Amended::Changed(object))
}

fn read(object: &Object) -> PortResult<Anchor> {
    let damaged = |what: &str| {
        PortError::failed(format!(
            "the ConfigMap {} was changed by hand: its {what} cannot be read",
            object.name()
        ))
        .detail(format!("look at it: kubectl get configmap {} -o yaml", object.name()))
    };
    let fence = match object.annotation(FENCE) {
        Some(text) => Some(Fence(text.parse().map_err(|_| damaged("fence"))?)),
        None => return Err(damaged("fence")),
    };
    let slots = match object.0.pointer("/data/slots").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).map_err(|_| damaged("slots"))?,
        None => Slots::new(),
    };
    Ok(Anchor { fence, slots })
}

fn fenced(names: &Names, newest: Fence, fence: Fence) -> PortError {
    PortError::new(
        PortErrorKind::Fenced,
        format!(
            "a newer operation ({}) has been in {}; this one ({}) is over",
            newest.0, names.environment, fence.0
        ),
    )
}

pub(super) fn not_ours(kind: &str, name: &str) -> PortError {
    PortError::failed(format!(
        "the {kind} {name} is there already and was not made by orchestrate for this environment"
    ))
    .detail("rename the service or the environment, use another namespace, or delete it".to_owned())
}
