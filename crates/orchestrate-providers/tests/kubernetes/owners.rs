//! What somebody else added to what is ours.

use orchestrate_core::ports::{Processes, Provider as _};
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};

use crate::contract::Stage;
use crate::fake::Fake;
use crate::rolling::goes_live;

/// A release that is sealed has nothing in it that somebody put into the one before, by whatever name.
#[tokio::test]
async fn what_somebody_added_is_not_in_the_next_release() {
    let stage = Stage::<Fake>::new().await;
    let scene = &stage.scene;
    let first = goes_live(scene, 1, Sample::web(1)).await;
    let name = format!("contract-{}-web", scene.environment);
    stage.ground.edit("deployments", &name, |object| {
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now".into();
        let containers = template["spec"]["containers"].as_array_mut().unwrap();
        containers[0]["env"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!({ "name": "DEBUG", "value": "1" }));
        containers.push(serde_json::json!({ "name": "beside", "image": "other:1" }));
    });
    let contents =
        stage.ground.world().all("configmaps").into_iter().find(|one| !one["data"]["RELEASE"].is_null());
    let contents = contents.unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    stage.ground.edit("configmaps", &contents, |object| object["data"]["DEBUG"] = "1".into());
    let found = scene.provider.drift(&first, Processes::All).await.unwrap();
    assert!(found.iter().any(|one| one.contains("was written by kubectl-edit")), "{found:?}");
    for number in [2, 1] {
        let placement = goes_live(scene, number, Sample::web(1)).await;
        assert_eq!(scene.provider.drift(&placement, Processes::All).await.unwrap(), [""; 0]);
    }
    let template = stage.ground.world().get("deployments", &name).unwrap()["spec"]["template"].clone();
    assert!(
        !template.to_string().contains("DEBUG") && !template.to_string().contains("restartedAt"),
        "{template}"
    );
    assert_eq!(template["spec"]["containers"].as_array().unwrap().len(), 1);
    let contents = stage.ground.world().get("configmaps", &contents).unwrap()["data"].clone();
    assert_eq!(contents, serde_json::json!({ "RELEASE": "1.1.0" }));
}
