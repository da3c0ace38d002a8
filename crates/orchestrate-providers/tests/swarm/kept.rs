//! What the swarm is told to keep: secrets as objects of its own, and what a task may not.

use std::collections::BTreeMap;

use orchestrate_core::environment::{SecretsAs, Swarm};
use orchestrate_core::name::Fence;
use orchestrate_core::ports::{
    AwaitHealthy, CountLines, Counts, Fetch, Placement, Processes, Provider, StartRequest, StopRequest,
};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::{ProviderStage, Sample};

use crate::world::World;

impl World {
    /// The names of the secrets of this home's releases.
    fn secrets(&self) -> Vec<String> {
        let filter = format!("label=dev.orchestrate.owner={}", self.owner());
        let listed = self.engine.docker(&["secret", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
        listed.lines().map(str::to_owned).collect()
    }
}

async fn start(provider: &dyn Provider, placement: &Placement) {
    let (processes, fence) = (Processes::All, Fence(1));
    let request = StartRequest { placement: placement.clone(), processes, counts: None, fence };
    provider.start(&request).await.unwrap();
    let (placement, deadline) = (placement.clone(), Span::from_secs(60));
    provider.await_healthy(&AwaitHealthy { placement, processes, counts: None, deadline }).await.unwrap();
}

async fn stop(provider: &dyn Provider, placement: &Placement, counts: Option<Counts>) {
    let (processes, fence) = (Processes::All, Fence(1));
    provider.stop(&StopRequest { placement: placement.clone(), processes, counts, fence }).await.unwrap();
}

#[tokio::test]
async fn secrets_are_objects_of_the_swarm_and_go_with_their_release() {
    let mut world = World::new().await;
    let placement = world.placement(1);
    let digest = world.seal(&placement, Sample::web(2)).await;
    world.edit(&placement, |spec| {
        spec.secrets = BTreeMap::from([("PASSWORD".to_owned(), SecretText::new("hunter2"))]);
        spec.engine.swarm = Some(Swarm { secrets: SecretsAs::Files, init: true, ..Swarm::default() });
        let web = spec.processes.get_mut("web").unwrap();
        web.command = vec!["secret".into(), "PASSWORD".into()];
        web.confinement.user = Some("1234:1234".into());
    });
    let provider = world.provider();
    provider.fetch(&Fetch { release: placement.release, artifact: digest, size: 0 }).await.unwrap();
    start(&*provider, &placement).await;
    let service = world.engine.docker(&["service", "inspect", &world.services()[0]]);
    assert!(!service.contains("hunter2") && service.contains("\"Init\": true"), "{service}");
    assert_eq!(world.secrets().len(), 1, "one for all instances");
    assert_eq!(provider.drift(&placement, Processes::All).await.unwrap(), [""; 0]);
    let pattern = "uid 1234 owner 1234 mode 400: 2retnuh".to_owned();
    let request = CountLines { placement: placement.clone(), process: None, pattern };
    let swarm = world.provider_of(world.home(), &world.owner(), None, true).await;
    let counted = swarm.count_lines(&request).await.unwrap();
    assert_eq!(counted.matches, 2, "{counted:?}");

    // As long as one instance is left they stay, and they come back with the release.
    stop(&*provider, &placement, Some(Counts::from([("web".to_owned(), 1)]))).await;
    assert_eq!(world.secrets().len(), 1);
    stop(&*provider, &placement, None).await;
    assert_eq!(world.secrets(), [""; 0]);
    start(&*provider, &placement).await;
    let secret = world.secrets().remove(0);
    world.engine.docker(&["service", "update", "--detach", "--secret-rm", &secret, &world.services()[0]]);
    let drift = provider.drift(&placement, Processes::All).await.unwrap();
    assert_eq!(drift, ["the secrets of blue-web-1 were changed"]);
    stop(&*provider, &placement, None).await;
    assert_eq!(world.secrets(), [""; 0]);
}

#[tokio::test]
async fn no_new_privs_is_kept_or_refused_and_never_left_out_in_silence() {
    let mut world = World::new().await;
    let placement = world.placement(1);
    let digest = world.seal(&placement, Sample::web(1)).await;
    world.edit(&placement, |spec| {
        spec.processes.get_mut("web").unwrap().confinement.no_new_privs = Some(true);
    });
    let provider = world.provider();
    let fetched = provider.fetch(&Fetch { release: placement.release, artifact: digest, size: 0 }).await;
    let version = world.engine.docker(&["version", "--format", "{{.Server.Version}}"]);
    if version.split('.').next().unwrap().parse::<u32>().unwrap() < 25 {
        let refused = fetched.unwrap_err();
        assert!(refused.message.starts_with("no_new_privs is asked for"), "{refused}");
        return;
    }
    fetched.unwrap();
    start(&*provider, &placement).await;
    let service = world.engine.docker(&["service", "inspect", &world.services()[0]]);
    assert!(service.contains("\"NoNewPrivileges\": true"), "{service}");
    stop(&*provider, &placement, None).await;
}
