//! What the engine itself tells of this home's containers, heard for as long as the daemon lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use orchestrate_core::time::Timestamp;
use tokio::time::sleep;

use super::adopt;
use super::container::HOME;
use super::shared::Shared;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Never returns.
pub(super) async fn hear(shared: Arc<Shared>) {
    let mut since = Timestamp::system_now();
    let (mut pause, mut first) = (FIRST_PAUSE, true);
    loop {
        if let Ok(client) = shared.engine.client().await
            && client.ping().await.is_ok()
        {
            pause = FIRST_PAUSE;
            if std::mem::take(&mut first) {
                adopt::end_leftovers(&shared).await;
            }
            // What happened while nobody heard is told again from then on, and looked at now.
            look_at_all(&shared);
            since = until_lost(&shared, &client, since).await;
            look_at_all(&shared);
        }
        shared.engine.forget_client();
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn look_at_all(shared: &Shared) {
    shared.keepers().iter().for_each(|keeper| keeper.look_now.notify_one());
}

/// Returns from when on there may be something that was not heard.
async fn until_lost(shared: &Shared, client: &bollard::Docker, since: Timestamp) -> Timestamp {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![format!("{HOME}={}", shared.home_mark)]),
    ]);
    let from = (since.as_millis() / 1000).to_string();
    let options = EventsOptionsBuilder::new().since(&from).filters(&filters).build();
    let mut events = std::pin::pin!(client.events(Some(options)));
    while let Some(Ok(event)) = events.next().await {
        pass_on(shared, &event);
    }
    Timestamp::system_now()
}

fn pass_on(shared: &Shared, event: &EventMessage) {
    let Some(about) = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref()) else { return };
    let Some(name) = about.get("name") else { return };
    let keepers = shared.keepers();
    let Some(keeper) = keepers.iter().find(|keeper| keeper.status.borrow().container == *name) else {
        return;
    };
    if event.action.as_deref() == Some("die") {
        let status = about.get("exitCode").and_then(|code| code.parse().ok());
        keeper.status.send_modify(|known| known.announced_end = status);
    }
    keeper.look_now.notify_one();
}
