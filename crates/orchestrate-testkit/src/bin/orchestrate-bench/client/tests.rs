//! That the clients are content with a service that works, and notice one that does not.

use tokio::net::TcpListener;

use super::*;
use crate::process::free_address;
use crate::serve::serve;
use crate::side_clients::SideClients;

async fn service() -> SocketAddr {
    let address = free_address().unwrap();
    let port = address.port().to_string();
    tokio::spawn(async move { serve(&[GOOD, &port]).await.unwrap() });
    await_answer(address, By::Good).await.unwrap();
    address
}

/// Reads something from everyone and hangs up on them.
async fn rude() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    address
}

#[tokio::test]
async fn a_load_makes_exactly_the_requests_it_was_told() {
    let records = Load::start(service().await, 7, Some(1_000)).unwrap().finish().await.unwrap();
    assert_eq!(records.len(), 1_000);
    assert!(records.iter().all(|record| record.outcome == Ok(By::Good)), "{:?}", failures(&records));
}

#[tokio::test]
async fn a_load_counts_what_is_lost() {
    let records = Load::start(rude().await, 2, Some(10)).unwrap().finish().await.unwrap();
    assert_eq!((records.len(), failures(&records).0), (10, 10));
    let nobody = Load::start(free_address().unwrap(), 2, Some(10)).unwrap().finish().await.unwrap();
    assert_eq!(failures(&nobody).0, 10);
}

async fn side_clients(address: SocketAddr) -> Vec<(usize, usize)> {
    let tallies = SideClients::start(address).stop().await.unwrap();
    tallies.into_iter().map(|(_, tally)| (tally.done, tally.failed)).collect()
}

#[tokio::test]
async fn the_other_clients_are_content_with_a_service_that_works() {
    for (done, failed) in side_clients(service().await).await {
        assert!(done > 0 && failed == 0, "{failed} of {done}");
    }
}

#[tokio::test]
async fn the_other_clients_notice_one_that_hangs_up() {
    for (done, failed) in side_clients(rude().await).await {
        assert!(done > 0 && failed == done, "{failed} of {done}");
    }
}

#[test]
fn half_an_answer_is_none() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nabc";
    for cut in 0..whole.len() {
        assert!(parse(&whole[..cut]).unwrap().is_none(), "{cut}");
    }
    let answer = parse(whole).unwrap().unwrap();
    assert_eq!((answer.status, answer.body.as_slice(), answer.close), (200, &b"abc"[..], true));
    assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "an answer of unknown length");
    assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
}
