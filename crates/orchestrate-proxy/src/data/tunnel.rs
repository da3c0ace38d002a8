//! An upgraded connection, e.g. a websocket: bytes pass both ways until both sides are done.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::client::Busy;
use super::exchange::Exchange;
use super::gate::Gate;
use super::leash::Leash;
use crate::table::{Seat, Ticket};

/// What the second side gets to end after the first has.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Joins the client's connection to the instance's.
pub(super) async fn splice(
    on_upgrade: OnUpgrade,
    exchange: Box<Exchange>,
    _kept: (Ticket, Seat, Busy),
    idle: Option<Duration>,
) {
    exchange.leash.arm(idle);
    let leash = Rc::clone(&exchange.leash);
    let joined = async {
        let Ok(upgraded) = on_upgrade.await else { return };
        let Ok(client) = upgraded.downcast::<Gate>() else { return };
        let Some((mut instance, from_instance, _held)) = exchange.into_tunnel().await else { return };
        let mut socket = client.io.into_inner();
        let (client_read, client_write) = socket.split();
        let (instance_read, instance_write) = instance.split();
        let up = pump(&client.read_buf, client_read, instance_write, &leash, idle);
        let down = pump(&from_instance, instance_read, client_write, &leash, idle);
        // Whichever way the tunnel broke, both sides see it closed.
        let _ = tokio::try_join!(up, down);
    };
    until_pulled(&leash, joined).await;
}

async fn until_pulled(leash: &Leash, joined: impl Future<Output = ()>) {
    let mut joined = pin!(joined);
    poll_fn(|cx| if leash.watch(cx).is_some() { Poll::Ready(()) } else { joined.as_mut().poll(cx) }).await;
}

async fn pump(
    early: &[u8],
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    leash: &Leash,
    idle: Option<Duration>,
) -> io::Result<()> {
    to.write_all(early).await?;
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        to.write_all(&buffer[..read]).await?;
        leash.arm(idle);
    }
    leash.arm(Some(LAST_WORDS));
    to.shutdown().await
}
