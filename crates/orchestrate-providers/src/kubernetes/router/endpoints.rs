//! Who is behind a Service in this moment: what the cluster itself goes by.

use orchestrate_core::ports::PortResult;
use tokio::time::Instant;

use crate::kubernetes::api::Kind;
use crate::kubernetes::follow;
use crate::kubernetes::object::Objects;
use crate::kubernetes::site::Site;

/// Waits until the names of the pods that get the Service's requests are as `wanted` says. None at the deadline.
pub(super) async fn until<T>(
    site: &Site,
    service: &str,
    deadline: Instant,
    mut wanted: impl FnMut(&[String]) -> Option<T>,
) -> PortResult<Option<T>> {
    let selector = format!("kubernetes.io/service-name={service}");
    follow::until(&site.cluster, Kind::EndpointSlice, selector, deadline, |slices| wanted(&pods(slices)))
        .await
}

fn pods(slices: &Objects) -> Vec<String> {
    let endpoints = slices.values().flat_map(|slice| slice.items("/endpoints").collect::<Vec<_>>());
    // What is not said to be unready is ready.
    let ready = endpoints.filter(|one| one.truth("/conditions/ready").unwrap_or(true));
    let mut names: Vec<String> =
        ready.map(|one| one.text("/targetRef/name").unwrap_or("one that is no pod").to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
