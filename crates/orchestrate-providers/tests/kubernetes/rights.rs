//! The Role in `deploy/kubernetes/rbac.yaml`: every other test runs with its rights; here each of them is one that is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orchestrate_core::hooks::Hook;
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    Close, ForgetHooks, HookRequest, Placement, Processes, Prove, Provider as _, Router as _, StopRequest,
};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};
use orchestrate_providers::kubernetes::{Logs, Wanted};
use orchestrate_testkit::contract::provider::{ProviderStage as _, Sample};

use crate::contract::{Routed, Stage};
use crate::fake::{Fake, rules};
use crate::rolling::{placement, register, stop, switch};
use crate::stage::{Scene, listen};

async fn live(scene: &Scene, number: i64, rolls: bool) -> Placement {
    let placement = placement(scene, number);
    let mut spec = scene.spec(&placement, Sample::web(2));
    (spec.engine.rolls, spec.engine.shares) = (rolls, !rolls);
    spec.variables.insert("LEVEL".into(), "info".into());
    spec.secrets.insert("TOKEN".into(), SecretText::new("x"));
    let instances = scene.run(&placement, spec).await;
    register(scene, &placement, &instances).await.unwrap();
    placement
}

async fn share_and_prove(scene: &Scene, first: &Placement, second: &Placement) {
    switch(scene, first, 2).await.unwrap();
    let shift = Shift {
        placement: second.clone(),
        weight: 10,
        rest: first.clone(),
        needs: BTreeMap::new(),
        rules: TrafficRules::default(),
        fence: Fence(1),
    };
    scene.router.shift(&shift).await.unwrap();
    let prove = Prove {
        placement: second.clone(),
        listen: listen(),
        path: "/".into(),
        expected_status: 200,
        contains: None,
        timeout: Span::from_secs(5),
        directed: true,
    };
    scene.router.prove(&prove).await.unwrap();
}

async fn end(scene: &Scene, all: &[&Placement]) {
    scene.router.close(&Close { environment: scene.environment.clone(), fence: Fence(1) }).await.unwrap();
    for one in all {
        stop(scene, one).await.unwrap();
    }
}

#[tokio::test]
async fn every_right_of_the_role_is_needed() {
    let stage: Stage<Fake> = Stage::new().await;
    let scene = &stage.scene;
    let first = live(scene, 1, false).await;
    let second = live(scene, 2, false).await;
    share_and_prove(scene, &first, &second).await;
    let request = HookRequest {
        placement: first.clone(),
        of: "d7".into(),
        hook: Hook::PreDeploy,
        command: vec!["true".into()],
        timeout: Span::from_secs(20),
        fence: Fence(1),
    };
    scene.provider.hook(&request).await.unwrap();
    let environment = scene.environment.clone();
    scene.provider.forget_hooks(&ForgetHooks { environment, but: None, fence: Fence(1) }).await.unwrap();
    let run = orchestrate_core::ports::OneOff {
        placement: first.clone(),
        name: "smoke".into(),
        command: vec!["true".into()],
        variables: BTreeMap::new(),
        timeout: Span::from_secs(20),
    };
    orchestrate_providers::Hosted::run_once(&*scene.provider, &run).await.unwrap();
    let logs = Logs::new(Arc::new(scene.records.clone()));
    let wanted = Wanted { environment: scene.environment.clone(), version: first.version.clone(), lines: 1 };
    logs.last(&wanted).await.unwrap();
    let counts = Some(BTreeMap::from([("web".to_owned(), 1)]));
    let placement = second.clone();
    let shrink = StopRequest { placement, processes: Processes::All, counts, fence: Fence(1) };
    scene.provider.stop(&shrink).await.unwrap();
    end(scene, &[&first, &second]).await;
    // One release in the place of another, which forgets what was there before once it has the traffic.
    let third = live(scene, 3, true).await;
    let fourth = live(scene, 4, true).await;
    switch(scene, &fourth, 2).await.unwrap();
    end(scene, &[&third, &fourth]).await;
    let routed: Routed<Fake> = Routed::of(Stage::new().await).await;
    let scene = &routed.0.scene;
    let (fifth, sixth) = (live(scene, 5, false).await, live(scene, 6, false).await);
    share_and_prove(scene, &fifth, &sixth).await;
    let mut used = stage.ground.world().used.clone();
    used.extend(routed.0.ground.world().used.clone());
    let granted = rules().into_iter().flat_map(|(resources, verbs)| {
        resources
            .into_iter()
            .flat_map(move |resource| verbs.clone().into_iter().map(move |verb| (resource.clone(), verb)))
    });
    let granted: BTreeSet<(String, String)> = granted.collect();
    let unneeded: Vec<_> = granted.difference(&used).collect();
    assert!(unneeded.is_empty(), "the Role allows what nobody needs: {unneeded:?}");
}
