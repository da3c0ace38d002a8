//! Which operations are still to be told as traces.

use orchestrate_core::database::TraceState;
use orchestrate_core::execute::journal::StepEvent;
use orchestrate_core::name::OperationId;
use orchestrate_core::trace::Trace;

use super::scene::{Fresh, Scene};
use super::{name, time};

pub async fn an_operation_that_ended_waits_until_it_is_told(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, long_ago) = (&scene.db, time(-1_000_000_000));
    for version in ["1.0", "1.1", "1.2"] {
        scene.deploy(version).await;
    }
    let ended = db.untold_operations(None, long_ago, 100).await.unwrap();
    let numbers: Vec<_> = ended.iter().map(|operation| operation.id.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(db.untold_operations(None, long_ago, 2).await.unwrap(), ended[..2]);

    let mine = [scene.environment.clone(), name("elsewhere")];
    assert_eq!(db.untold_operations(Some(&mine), long_ago, 100).await.unwrap(), ended);
    assert_eq!(db.untold_operations(Some(&mine[1..]), long_ago, 100).await.unwrap(), []);
    assert_eq!(db.untold_operations(Some(&[]), long_ago, 100).await.unwrap(), []);

    let traced = db.traced(ended[0].clone()).await.unwrap();
    assert!(traced.journal.iter().any(|entry| entry.event == StepEvent::Done), "{traced:?}");
    assert_eq!(traced.service.as_deref(), Some("shop"));
    let (trace, again) = (Trace::of(&traced), Trace::of(&db.traced(ended[0].clone()).await.unwrap()));
    assert!(trace.is_some() && trace == again, "{trace:?}");

    db.trace_told(OperationId(1), TraceState::Sent, None).await.unwrap();
    db.trace_told(OperationId(2), TraceState::Refused, Some("status 400")).await.unwrap();
    assert_eq!(db.untold_operations(None, long_ago, 100).await.unwrap(), ended[2..]);
    let count = db.count_traces(Some(&mine), long_ago).await.unwrap();
    assert_eq!((count.waiting, count.refused), (1, 1));
    let none = db.count_traces(Some(&[]), long_ago).await.unwrap();
    assert_eq!((none.waiting, none.refused), (0, 0));
    let after = ended[2].ended_at.unwrap();
    assert_eq!(db.untold_operations(None, after, 100).await.unwrap(), []);
    scene.end(fresh).await;
}
