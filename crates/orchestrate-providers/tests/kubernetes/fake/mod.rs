//! A small API server with one namespace, in memory: objects with versions, server-side apply, watches, and the controllers
//! that make pods of Deployments and endpoints of Services. It allows what the Role in `deploy/kubernetes` does. It knows what the provider and the router ask, and nothing else:
//! what it does not know it answers with 501, and the test fails.

mod admission;
mod answer;
mod controllers;
mod faults;
mod kubelet;
mod merge;
mod rights;
mod server;
mod valid;
mod world;

pub use controllers::is_ready;
pub use faults::{Answer, Fault};
pub use kubelet::variables;
pub use rights::rules;
pub use world::Look;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use world::World;

pub const NAMESPACE: &str = "shop";

pub struct Fake {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

pub struct Shared {
    world: Mutex<World>,
    /// The version of the newest change, and how often all watches were cut.
    news: watch::Sender<(u64, u64)>,
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Tells whoever waits of what was changed.
    pub fn tell(&self) {
        let version = self.world().version;
        self.news.send_if_modified(|news| std::mem::replace(&mut news.0, version) != version);
    }
}

impl Fake {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { world: Mutex::new(World::new()), news: watch::Sender::new((0, 0)) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        let controlling = tokio::spawn(control(Arc::clone(&shared)));
        Self { address, shared, tasks: vec![serving, controlling] }
    }

    /// As `kubectl` is told of it.
    pub fn kubeconfig(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "fake", "namespace": NAMESPACE } }],
            "clusters": [{ "name": "fake", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "fake", "user": { "token": "fake" } }],
        })
        .to_string()
    }

    pub fn inject(&self, fault: Fault) {
        self.shared.world().faults.push(fault);
    }

    pub fn no_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// How often a fault was met.
    pub fn met(&self) -> usize {
        self.shared.world().met
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Every watch ends in the middle; those who come back with an old version are told that it is too old.
    pub fn cut_watches(&self, compact: bool) {
        {
            let mut world = self.shared.world();
            if compact {
                world.version += 1;
                world.oldest = world.version;
                world.events.clear();
            }
        }
        self.shared.news.send_modify(|news| news.1 += 1);
    }

    /// An object as it is, changed by somebody who is not us.
    pub fn edit(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
        {
            let mut world = self.shared.world();
            let mut object = world.get(plural, name).unwrap_or_else(|| panic!("no {plural}/{name}")).clone();
            change(&mut object);
            let mut owners = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
            owners.retain(|one| one["manager"] != "kubectl-edit");
            owners.push(serde_json::json!(
                { "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:spec": {} } }
            ));
            object["metadata"]["managedFields"] = owners.into();
            world.put(plural, object);
        }
        self.shared.tell();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The controllers see what changed a moment later, as in a cluster.
async fn control(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(3)).await;
        {
            let mut world = shared.world();
            controllers::step(&mut world);
            kubelet::step(&mut world);
            controllers::endpoints(&mut world);
        }
        shared.tell();
    }
}
