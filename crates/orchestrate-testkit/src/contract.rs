//! What a provider and a router are, as tests: every one of them passes the same suite, the fakes too.
//!
//! A test binary says what its stage is and gets one test a case: `provider_contract!(MyStage);`.

pub mod provider;
pub mod router;

use std::time::Duration;

use orchestrate_core::name::{EnvironmentName, ReleaseId, Version};
use orchestrate_core::ports::Placement;
use orchestrate_core::slot::Slot;

/// Nothing in a suite takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A test for each of these cases of a suite, each on a stage of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($suite:ident, $way:ident, $stage:ty: $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let stage = <$stage as $crate::contract::$suite::$way>::new().await;
                $crate::contract::$suite::$case(stage).await;
            }
        )*
    };
}

/// Release `number`, of version `1.number.0`; odd ones are in the blue slot.
fn placement(environment: &EnvironmentName, number: i64) -> Placement {
    Placement {
        environment: environment.clone(),
        slot: if number % 2 == 1 { Slot::Blue } else { Slot::Green },
        release: ReleaseId(number),
        version: Version::new(format!("1.{number}.0")).unwrap(),
    }
}

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
