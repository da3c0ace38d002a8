//! What a provider and a router are, as tests: every one of them passes the same suite, the fakes too.
//!
//! A test binary says what its stage is and gets one test a case: `provider_contract!(MyStage);`.

pub mod provider;
pub mod router;

use std::time::Duration;

/// Nothing in a suite takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test rather than hang.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Asks until there is an answer: for facts that nobody announces.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    in_time(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
