//! What is known of each kind of step, and its words for people.

use std::fmt;

use super::{Place, Share, Step};
use crate::ports::{Counts, Processes};

impl Step {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Start(..) => "start",
            Self::AwaitHealthy(..) => "await_healthy",
            Self::Grow(..) => "grow",
            Self::Shrink(..) => "shrink",
            Self::Wait(..) => "wait",
            Self::ShiftTraffic(..) => "shift_traffic",
            Self::ProveShare(_) => "prove_share",
            Self::SwitchTraffic(_) => "switch_traffic",
            Self::ProveLive(_) => "prove_live",
            Self::Drain(_) => "drain",
            Self::Close(_) => "close",
            Self::Stop(..) => "stop",
            Self::Hook(_, hook) => hook.as_str(),
        }
    }

    /// Whether performing it changes the world, so that its `Started` must be on disk first.
    pub const fn has_effect(&self) -> bool {
        match self {
            Self::Fetch(_) | Self::Wait(..) | Self::ProveShare(_) | Self::ProveLive(_) => false,
            Self::Start(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::AwaitHealthy(..)
            | Self::ShiftTraffic(..)
            | Self::SwitchTraffic(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..)
            | Self::Hook(..) => true,
        }
    }

    /// The share of the traffic, in percent, that it gives its place.
    pub const fn weight(&self) -> Option<u8> {
        match self {
            Self::SwitchTraffic(_) => Some(100),
            Self::ShiftTraffic(_, share) => Some(share.weight),
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::Wait(..)
            | Self::ProveShare(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => None,
        }
    }

    /// Whether what could answer requests before cannot do so afterwards.
    pub const fn takes_away(&self) -> bool {
        match self {
            Self::Shrink(..) | Self::Drain(_) | Self::Stop(..) => true,
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::SwitchTraffic(_)
            | Self::ProveLive(_)
            | Self::Close(_) => false,
        }
    }

    /// What the journal says once it is done, where that changes what a failure means.
    pub fn milestone(&self) -> Option<String> {
        match self {
            Self::SwitchTraffic(place) => Some(format!(
                "the point of no return: all traffic is at {}, and what comes is finished, not undone",
                place.version
            )),
            Self::Fetch(_)
            | Self::Hook(..)
            | Self::Start(..)
            | Self::AwaitHealthy(..)
            | Self::Grow(..)
            | Self::Shrink(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => None,
        }
    }

    pub const fn place(&self) -> &Place {
        match self {
            Self::Fetch(place)
            | Self::Start(place, _)
            | Self::AwaitHealthy(place, _)
            | Self::Grow(place, ..)
            | Self::Shrink(place, ..)
            | Self::Wait(place, _)
            | Self::ShiftTraffic(place, _)
            | Self::ProveShare(place)
            | Self::SwitchTraffic(place)
            | Self::ProveLive(place)
            | Self::Drain(place)
            | Self::Close(place)
            | Self::Stop(place, _)
            | Self::Hook(place, _) => place,
        }
    }

    /// Whether it starts instances that get traffic.
    pub const fn starts(&self) -> bool {
        match self {
            Self::Start(_, processes) => processes.are_routed(),
            Self::Grow(..) => true,
            Self::Fetch(_)
            | Self::AwaitHealthy(..)
            | Self::Shrink(..)
            | Self::Hook(..)
            | Self::Wait(..)
            | Self::ShiftTraffic(..)
            | Self::ProveShare(_)
            | Self::SwitchTraffic(_)
            | Self::ProveLive(_)
            | Self::Drain(_)
            | Self::Close(_)
            | Self::Stop(..) => false,
        }
    }
}

fn listed(counts: &Counts) -> String {
    let each: Vec<String> = counts.iter().map(|(process, count)| format!("{count} {process}")).collect();
    each.join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { slot, version, .. } = self.place();
        match self {
            Self::Fetch(_) => write!(f, "check the sealed artifact of {version}"),
            Self::Start(_, Processes::All | Processes::Routed) => write!(f, "start {version} in {slot}"),
            Self::Start(_, Processes::Unrouted) => write!(f, "start the workers of {version} in {slot}"),
            Self::AwaitHealthy(_, Processes::All | Processes::Routed) => {
                write!(f, "wait until {version} is ready")
            }
            Self::AwaitHealthy(_, Processes::Unrouted) => {
                write!(f, "wait until the workers of {version} are ready")
            }
            Self::Grow(_, to, _) => write!(f, "have {} of {version} ready in {slot}", listed(to)),
            Self::Shrink(_, to, _) => write!(f, "leave {} of {version} in {slot}", listed(to)),
            Self::Wait(_, span) => write!(f, "wait {span}"),
            Self::ShiftTraffic(_, Share { weight: 0, .. }) => write!(f, "keep {version} without traffic"),
            Self::ShiftTraffic(_, Share { weight, .. }) => {
                write!(f, "give {weight} % of the traffic to {version} in {slot}")
            }
            Self::ProveShare(_) => write!(f, "see {version} answer through the live address"),
            Self::SwitchTraffic(_) => write!(f, "switch all traffic to {version} in {slot}"),
            Self::ProveLive(_) => write!(f, "see the live address answered by {version}"),
            Self::Drain(_) => write!(f, "let the requests in flight to {version} end"),
            Self::Close(_) => write!(f, "take no more requests"),
            Self::Hook(_, hook) => write!(f, "run {hook} of {version}"),
            Self::Stop(_, Processes::All | Processes::Routed) => write!(f, "stop {version} in {slot}"),
            Self::Stop(_, Processes::Unrouted) => write!(f, "stop the workers of {version} in {slot}"),
        }
    }
}
