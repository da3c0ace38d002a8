//! Waiting for facts, and no longer than anything here takes.

use std::time::Duration;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn in_time<R>(work: impl Future<Output = R>) -> R {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Asks until there is an answer: for facts that nobody announces.
pub async fn until<R>(mut ask: impl AsyncFnMut() -> Option<R>) -> R {
    in_time(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
