//! One task a worker applies every timeout. It sleeps while there is nothing to time.

use std::rc::Rc;

use super::clock::{TICK, advance, ticks};
use super::worker::Worker;

pub(super) async fn run(worker: Rc<Worker>) {
    let limits = &worker.shared.limits;
    let (header_read, keep_alive) = (ticks(limits.header_read), ticks(limits.keep_alive));
    let upstream_idle = ticks(limits.upstream_idle);
    loop {
        worker.something_to_time().await;
        tokio::time::sleep(TICK).await;
        advance();
        worker.clients.each(|client| client.examine(header_read, keep_alive));
        worker.leashes.time_out();
        worker.pool.weed(upstream_idle);
    }
}
