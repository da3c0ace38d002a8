//! What a router writes down, and starts again with after it was killed.

use std::collections::BTreeMap;

use super::{Routed, Site, World};
use crate::name::{EnvironmentName, Fence};
use crate::slot::Slot;

/// What the router knows of every environment.
#[derive(Clone)]
pub struct Routes(BTreeMap<EnvironmentName, (Option<Fence>, BTreeMap<Slot, Routed>)>);

impl Routes {
    /// The shares of the traffic as they were then, of the places that are still known.
    pub fn weigh_as(&mut self, earlier: &Self) {
        for (name, (_, routed)) in &mut self.0 {
            let before = earlier.0.get(name).map(|(_, routed)| routed);
            for (slot, there) in routed {
                let was = before.and_then(|before| before.get(slot));
                there.weight = was.filter(|was| was.placement == there.placement).map_or(0, |was| was.weight);
            }
        }
    }
}

impl World {
    /// What the router knows, as it would write it down.
    pub fn routes(&self) -> Routes {
        let state = self.lock();
        let routes = |site: &Site| (site.router_fence, site.routed.clone());
        Routes(state.sites.iter().map(|(name, site)| (name.clone(), routes(site))).collect())
    }

    /// The router starts again with what it wrote down.
    pub fn put_routes(&self, routes: &Routes) {
        let mut state = self.lock();
        for (name, (fence, routed)) in &routes.0 {
            let site = state.site(name);
            (site.router_fence, site.routed) = (*fence, routed.clone());
        }
    }
}
