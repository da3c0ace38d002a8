//! What a report reads.

use orchestrate_core::report::Period;

use super::scene::{Fresh, Scene, name};
use super::time;

pub async fn a_report_reads_what_happened_in_its_time(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    scene.deploy("1.0").await;
    scene.deploy("1.1").await;
    scene.rollback().rollback(&scene.forced()).await.unwrap();
    fresh.sql("UPDATE releases SET committed_at = '2000-01-01T00:00:00.000Z' WHERE version = '1.1'").await;
    let all = Period { since: time(-1_000_000_000), until: time(1_000_000_000) };

    let report = scene.db.report(None, all).await.unwrap();
    let [part] = &report.environments[..] else { panic!("{report:?}") };
    let (deployments, rollbacks) = (part.figures.deployments, &part.figures.rollbacks);
    assert_eq!((deployments.total, deployments.completed, deployments.rolled_back), (2, 1, 1));
    assert_eq!((rollbacks.total, rollbacks.completed, rollbacks.by_path["warm"].count), (1, 1, 1));
    assert_eq!((part.figures.dora.deployments, part.figures.dora.failed), (2, 1));
    assert_eq!(part.figures.dora.lead_time.unwrap().count, 1);
    assert_eq!(part.figures.dora.recovery_time.unwrap().count, 1);
    assert_eq!(rollbacks.time_to_restore, part.figures.dora.recovery_time);

    // Before any of it, and of another environment.
    let before = Period { until: time(-999_999_999), ..all };
    assert_eq!(scene.db.report(None, before).await.unwrap().total.deployments.total, 0);
    let other = scene.db.report(Some(&name("staging")), all).await.unwrap();
    assert_eq!(other.environments, []);
    assert_eq!(
        scene.db.report(Some(&scene.environment), all).await.unwrap().environments,
        report.environments
    );
    scene.end(fresh).await;
}
