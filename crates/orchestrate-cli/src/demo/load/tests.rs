//! The load against the sample service, over real sockets.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::demo::sample_service::{Behaviour, Sample as Service};

async fn service(listener: TcpListener, version: &str, behaviour: Behaviour) -> impl AsyncFnOnce() {
    let (stop, stopped) = oneshot::channel::<()>();
    let service = Service::new(version, "web-1", behaviour);
    let served = tokio::spawn(service.run(listener, async move {
        let _ = stopped.await;
    }));
    async move || {
        let _ = stop.send(());
        served.await.unwrap();
    }
}

async fn listen(port: u16) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn until(load: &Load, fact: impl FnMut(&Tally) -> bool) {
    tokio::time::timeout(Duration::from_secs(20), load.wait_until(fact)).await.unwrap();
}

#[tokio::test]
async fn every_answer_is_counted_with_its_version() {
    let (listener, address) = listen(0).await;
    let stop = service(listener, "1.0.0", Behaviour::Good).await;
    let load = Load::start(address, 4, Pace::ClosedLoop);
    until(&load, |tally| tally.requests > 100).await;
    let report = load.stop().await;
    stop().await;
    let versions = report.versions();
    assert_eq!((report.lost(), report.failed(), versions.len()), (0, 0, 1), "{:?}", report.failures());
    assert_eq!(&*versions[0].version, "1.0.0");
    assert_eq!(versions[0].good, report.samples.len() as u64);
    assert!(versions[0].good > 100 && versions[0].last <= report.elapsed, "{:?}", versions[0]);
    assert!(report.samples.is_sorted_by_key(|sample| sample.at));
}

#[tokio::test]
async fn a_paced_load_asks_no_more_than_it_was_told() {
    let (listener, address) = listen(0).await;
    let stop = service(listener, "1.0.0", Behaviour::Good).await;
    let load = Load::start(address, 3, Pace::PerSecond(100));
    until(&load, |tally| tally.requests > 20).await;
    let report = load.stop().await;
    stop().await;
    let most = (report.elapsed.as_secs_f64() * 100.0) as usize + 3;
    assert!((20..=most).contains(&report.samples.len()), "{} of {most}", report.samples.len());
    assert_eq!(report.failed(), 0);
}

#[tokio::test]
async fn errors_of_the_service_are_failures_of_their_version() {
    let (listener, address) = listen(0).await;
    let stop = service(listener, "1.1.0", Behaviour::Errors(50)).await;
    let load = Load::start(address, 1, Pace::ClosedLoop);
    until(&load, |tally| tally.requests > 40).await;
    let report = load.stop().await;
    stop().await;
    let share = &report.versions()[0];
    assert!(share.errors > 0 && share.good.abs_diff(share.errors) <= 1, "{share:?}");
    assert_eq!((report.failed(), report.lost()), (share.errors, 0));
    assert_eq!(report.failures().keys().collect::<Vec<_>>(), ["status 500 from 1.1.0"]);
}

#[tokio::test]
async fn what_is_down_is_lost_and_what_comes_back_is_found() {
    let (listener, address) = listen(0).await;
    let stop = service(listener, "1.0.0", Behaviour::Good).await;
    let load = Load::start(address, 2, Pace::ClosedLoop);
    until(&load, |tally| tally.requests > 10).await;
    stop().await;
    until(&load, |tally| tally.failed > 2).await;
    let (listener, _) = listen(address.port()).await;
    let stop = service(listener, "1.1.0", Behaviour::Good).await;
    until(&load, |tally| tally.newest_version.as_deref() == Some("1.1.0")).await;
    let report = load.stop().await;
    stop().await;
    assert!(report.lost() > 0, "the time between them was not noticed");
    let names: Vec<_> = report.versions().iter().map(|share| share.version.to_string()).collect();
    assert_eq!(names, ["1.0.0", "1.1.0"]);
    assert!(report.versions()[0].last < report.versions()[1].first);
}
