//! Secrets as files: for the service's own user, in memory only, and still there whoever starts a container again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use orchestrate_core::environment::{Docker, SecretsAs};
use orchestrate_core::ports::{OneOff, Placement};
use orchestrate_core::secrets::SecretText;
use orchestrate_core::time::Span;
use orchestrate_providers::Hosted as _;
use orchestrate_testkit::contract::provider::Sample;
use orchestrate_testkit::docker::Engine;

use crate::waiting::{in_time, until};
use crate::world::World;

/// What `/etc/passwd` of the image is: a Dockerfile that has a line of both kinds.
const USERS: &str = "LABEL a=b \\\nshop:x:4321:4321:a=b:/:/\nCOPY Dockerfile /etc/passwd\nUSER shop";
/// As the service tells them, which does not tell the secret itself.
const TOLD: &str = "uid 4321 owner 4321 mode 400: 2retnuh";

impl World {
    /// Where the secrets of this home are.
    fn rooms(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm/orchestrate-{}", self.mark()))
    }

    /// The containers that have some there.
    fn with_secrets(&self) -> Vec<String> {
        let rooms = fs::read_dir(self.rooms()).into_iter().flatten().flatten();
        rooms.map(|room| room.file_name().into_string().unwrap()).collect()
    }

    /// How often it told its secret to its output.
    fn told(&self, name: &str) -> usize {
        self.engine.docker(&["logs", name]).lines().filter(|line| *line == TOLD).count()
    }
}

fn with_a_secret(world: &mut World) -> Placement {
    let placement = world.placement(1);
    let tag = world.tag(&placement);
    let id = world.engine.build(&tag, USERS);
    world.seal_image(&placement, &id, None, Sample::web(1));
    world.edit(&placement, |spec| {
        spec.secrets = BTreeMap::from([("PASSWORD".to_owned(), SecretText::new("hunter2"))]);
        spec.engine.docker = Some(Docker { secrets: SecretsAs::Files, read_only: true, ..Docker::default() });
        spec.processes.get_mut("web").unwrap().command = vec!["secret".into(), "PASSWORD".into()];
    });
    placement
}

#[tokio::test]
async fn a_secret_is_a_file_of_the_services_user_and_nowhere_else() {
    let mut world = World::on(Engine::shared()).await;
    let placement = with_a_secret(&mut world);
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let name = world.containers().remove(0);
    assert_eq!(world.told(&name), 1);
    assert!(!world.engine.docker(&["inspect", &name]).contains("hunter2"));
    assert!(!world.engine.docker(&["export", &name]).contains("hunter2"), "it is not in its file system");
    assert_eq!(world.with_secrets(), [name.as_str()]);
    let mode = fs::metadata(world.rooms()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else on the machine gets to them");

    // What is run once has them, too, and leaves nothing.
    let once = OneOff {
        placement: placement.clone(),
        name: "smoke".into(),
        command: vec!["tell".into(), "PASSWORD".into()],
        variables: BTreeMap::new(),
        timeout: Span::from_secs(30),
    };
    let ended = in_time(world.docker().run_once(&once)).await.unwrap();
    assert_eq!(ended.output, TOLD);
    until(async || (world.with_secrets().len() == 1).then_some(())).await;
    world.stop(&placement).await.unwrap();
    assert_eq!(world.with_secrets(), [""; 0]);
}

#[tokio::test]
async fn secrets_outlast_every_restart_and_those_of_nobody_are_swept_away() {
    let mut world = World::on(Engine::shared()).await;
    let placement = with_a_secret(&mut world);
    world.start(&placement).await.unwrap();
    world.ready(&placement).await.unwrap();
    let name = world.containers().remove(0);

    // Its process ends while no daemon looks: the engine starts it again by itself.
    world.close();
    let pid = world.engine.docker(&["inspect", "--format", "{{.State.Pid}}", &name]);
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    until(async || (world.told(&name) == 2).then_some(())).await;

    // The machine is started anew: what was in memory is gone, and the daemon makes the container again.
    world.engine.docker(&["stop", "--time", "1", &name]);
    fs::remove_dir_all(world.rooms()).unwrap();
    world.engine.try_docker(&["start", &name]).expect_err("it does not start without its secrets");
    world.open().await;
    let renewed = until(async || world.containers().into_iter().find(|other| *other != name)).await;
    world.ready(&placement).await.unwrap();
    assert_eq!((world.told(&renewed), world.with_secrets()), (1, vec![renewed]));

    // What a daemon that was killed left behind goes when the next one begins.
    fs::create_dir(world.rooms().join("orchestrate-gone")).unwrap();
    world.open().await;
    assert_eq!(world.with_secrets().len(), 1);
    world.stop(&placement).await.unwrap();
    assert_eq!(world.with_secrets(), [""; 0]);
    fs::remove_dir(world.rooms()).unwrap();
}
