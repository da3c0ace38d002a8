//! The router of an environment does not change under what it serves.

use std::collections::BTreeMap;

use orchestrate_core::environment::{EnvironmentSettings, RouterSettings};

use super::{Fresh, Scene, settings};

fn behind(socket: &str, state_file: Option<&str>) -> EnvironmentSettings {
    let mut settings = settings();
    settings.engine.router = Some(RouterSettings {
        haproxy: socket.into(),
        backends: BTreeMap::from([("web".into(), "shop".into())]),
        state_file: state_file.map(Into::into),
    });
    settings
}

pub async fn the_router_of_what_runs_stays(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let now = scene.world.clock.read();
    let apply = async |settings: &EnvironmentSettings| {
        scene.db.apply_environment(&scene.environment, "shop", settings, &[], "ada", now).await
    };
    assert!(apply(&behind("/a", None)).await.unwrap(), "nothing runs yet");
    assert!(apply(&settings()).await.unwrap());
    scene.deploy("1.0").await;
    let error = apply(&behind("/a", None)).await.unwrap_err();
    assert_eq!(error.code(), "ORC-0520");
    assert!(error.hint_text().unwrap().contains("orchestrate env stop production"));
    let kept = scene.db.environment(&scene.environment).await.unwrap().environment.settings;
    assert_eq!(kept, settings(), "nothing was changed");
    scene.executor().stop_environment(&scene.environment, "ada").await.unwrap();
    assert!(apply(&behind("/a", None)).await.unwrap());
    scene.deploy("1.1").await;
    assert!(apply(&behind("/a", Some("/state"))).await.unwrap(), "the state file is no other place");
    assert_eq!(apply(&behind("/b", Some("/state"))).await.unwrap_err().code(), "ORC-0520");
    assert_eq!(apply(&settings()).await.unwrap_err().code(), "ORC-0520");
    scene.end(fresh).await;
}
