//! Which home an environment runs in, whose daemon is alive, and whose turn something is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrate_core::database::{Holder, Site};
use orchestrate_core::environment::{EnvironmentSettings, ProviderKind};
use orchestrate_core::ports::{Host, Ports};
use orchestrate_core::time::Span;
use orchestrate_core::{Database, DeploymentExecutor, DeploymentRollback};

use super::scene::{Fresh, Scene, name, settings, v};
use super::{hook, time};

/// A program in one of several homes.
struct At(Site, &'static str);

impl Host for At {
    fn holder(&self, actor: &str) -> Holder {
        Holder {
            actor: actor.into(),
            host: self.0.host.clone(),
            pid: 1,
            start_time: 1,
            boot_id: self.1.into(),
        }
    }

    fn runs(&self, holder: &Holder) -> Option<bool> {
        (holder.host == self.0.host).then_some(true)
    }

    fn site(&self) -> Option<Site> {
        Some(self.0.clone())
    }
}

fn site(host: &str) -> Site {
    Site { id: format!("id of {host}"), host: host.into(), home: format!("/home/{host}") }
}

fn daemon(host: &str, boot: &'static str) -> Holder {
    At(site(host), boot).holder("daemon")
}

fn ports(scene: &Scene, host: &str) -> Ports {
    Ports { host: Arc::new(At(site(host), "boot")), ..scene.world.ports() }
}

const LONG: Span = Span::from_secs(600);
const SHORT: Span = Span::from_millis(50);

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !look().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn an_environment_runs_where_it_was_deployed_to_first(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place) = (&scene.db, &scene.environment);
    let of = |host| DeploymentExecutor::new(db.clone(), ports(&scene, host));
    assert_eq!(db.environment(place).await.unwrap().owner, None);
    of("alpha").deploy(&scene.to_deploy("1.0")).await.unwrap();
    let record = db.environment(place).await.unwrap();
    assert_eq!(record.owner.as_deref(), Some("id of alpha"));
    let owner = db.owner(&record).await.unwrap().unwrap();
    assert_eq!((owner.site, owner.alive, owner.seen_ago_ms), (site("alpha"), false, None));
    of("alpha").deploy(&scene.to_deploy("1.1")).await.unwrap();

    for refused in [
        of("beta").deploy(&scene.to_deploy("1.2")).await.unwrap_err(),
        of("beta").stop_environment(place, "bob").await.unwrap_err(),
        DeploymentRollback::new(db.clone(), ports(&scene, "beta"))
            .rollback(&scene.forced())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.code(), "ORC-0162", "{refused}");
        assert!(refused.to_string().contains("runs on alpha, in /home/alpha"), "{refused}");
        assert!(refused.hint_text().unwrap().contains("orchestrate env adopt production"));
    }
    let preview = DeploymentRollback::new(db.clone(), ports(&scene, "beta"));
    let readiness = preview.readiness(place).await.unwrap();
    assert!(!readiness.ready && readiness.blockers[0].contains("runs on alpha"), "{readiness:?}");

    let rollback = DeploymentRollback::new(db.clone(), ports(&scene, "alpha"));
    assert_eq!(rollback.rollback(&scene.forced()).await.unwrap().target_version, v("1.0"));
    // A program that knows of no other sites, as with a file, asks nobody.
    scene.executor().deploy(&scene.to_deploy("1.3")).await.unwrap();
    scene.end(fresh).await;
}

pub async fn who_is_alive_is_not_taken_over_from(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place, beta) = (&scene.db, &scene.environment, site("beta"));
    let channels = [hook("http://x", &[])];
    db.apply_environment(place, "shop", &settings(), &channels, "ada", time(0)).await.unwrap();
    let adopt = |force| db.adopt(place, &beta, force, "bob", time(9));
    assert_eq!(adopt(true).await.unwrap_err().code(), "ORC-0164", "it runs nowhere");
    let alpha = DeploymentExecutor::new(db.clone(), ports(&scene, "alpha"));
    alpha.deploy(&scene.to_deploy("1.0")).await.unwrap();
    alpha.deploy(&scene.to_deploy("1.1")).await.unwrap();

    assert!(db.beat(&site("alpha"), &daemon("alpha", "boot"), "0.1.0", LONG).await.unwrap());
    assert!(db.owner(&db.environment(place).await.unwrap()).await.unwrap().unwrap().alive);
    let refused = adopt(false).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0163");
    assert!(refused.to_string().contains("on alpha"), "{refused}");
    // Only the daemon that speaks for a site says that it ends.
    db.sign_off(&site("alpha"), &daemon("alpha", "another boot")).await.unwrap();
    assert_eq!(adopt(false).await.unwrap_err().code(), "ORC-0163");
    db.sign_off(&site("alpha"), &daemon("alpha", "boot")).await.unwrap();

    let fence = db.lease(place).await.unwrap().unwrap().fence;
    let before = db.count_notices().await.unwrap();
    let adopted = adopt(false).await.unwrap();
    assert_eq!((adopted.from.unwrap().site, adopted.to), (site("alpha"), beta.clone()));
    assert_eq!(db.environment(place).await.unwrap().owner.as_deref(), Some("id of beta"));
    assert!(
        db.lease(place).await.unwrap().unwrap().fence > fence,
        "what was planned before is not carried out"
    );
    let record = &db.list_audit(Some(place), 1).await.unwrap()[0];
    assert_eq!((record.action.as_str(), record.actor.as_str()), ("environment_adopted", "bob"));
    assert_ne!(db.count_notices().await.unwrap(), before, "people are told");
    let states: Vec<_> = db.slots(place).await.unwrap().into_iter().map(|slot| slot.state.as_str()).collect();
    assert_eq!(states, ["live"], "what was warm is on alpha");
    assert_eq!(alpha.deploy(&scene.to_deploy("1.2")).await.unwrap_err().code(), "ORC-0162");
    assert_eq!(adopt(true).await.unwrap_err().code(), "ORC-0164", "it is here already");

    db.beat(&beta, &daemon("beta", "boot"), "0.1.0", LONG).await.unwrap();
    let back = |force| {
        let alpha = site("alpha");
        async move { db.adopt(place, &alpha, force, "ada", time(10)).await }
    };
    assert_eq!(back(false).await.unwrap_err().code(), "ORC-0163");
    back(true).await.unwrap();
    scene.end(fresh).await;
}

pub async fn one_daemon_speaks_for_a_home(fresh: Fresh) {
    let db = fresh.open().await;
    let (here, daemon) = (site("alpha"), |boot| daemon("alpha", boot));
    assert!(db.beat(&here, &daemon("boot"), "0.1.0", LONG).await.unwrap());
    assert!(db.beat(&here, &daemon("boot"), "0.1.1", SHORT).await.unwrap(), "the next one after a restart");
    assert!(db.beat(&here, &daemon("boot"), "0.1.1", LONG).await.unwrap());
    assert!(!db.beat(&here, &daemon("the copy's"), "0.1.0", LONG).await.unwrap(), "a copy of the machine");
    db.beat(&here, &daemon("boot"), "0.1.0", SHORT).await.unwrap();
    until("who fell silent is followed", async || {
        db.beat(&here, &daemon("the copy's"), "0.1.0", LONG).await.unwrap()
    })
    .await;
    assert!(!db.beat(&here, &daemon("boot"), "0.1.0", LONG).await.unwrap());
    fresh.clear_up(db).await;
}

fn on(provider: ProviderKind) -> EnvironmentSettings {
    EnvironmentSettings { provider, ..settings() }
}

async fn cared_for(db: &Database, host: &str) -> Vec<String> {
    let names = db.in_care_of(&site(host), &daemon(host, "boot")).await.unwrap();
    names.iter().map(ToString::to_string).collect()
}

pub async fn each_daemon_looks_after_its_own(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let db = &scene.db;
    for cluster in ["cluster", "other"] {
        let settings = on(ProviderKind::Kubernetes);
        db.apply_environment(&name(cluster), "shop", &settings, &[], "ada", time(0)).await.unwrap();
    }
    let alpha = DeploymentExecutor::new(db.clone(), ports(&scene, "alpha"));
    alpha.deploy(&scene.to_deploy("1.0")).await.unwrap();
    assert_eq!(cared_for(db, "alpha").await, [""; 0], "it has not said that it is alive");
    for host in ["alpha", "beta"] {
        db.beat(&site(host), &daemon(host, "boot"), "0.1.0", LONG).await.unwrap();
    }
    assert_eq!(cared_for(db, "alpha").await, ["production"]);
    db.take_care(&site("beta"), SHORT, true).await.unwrap();
    db.take_care(&site("beta"), LONG, true).await.unwrap();
    db.take_care(&site("alpha"), LONG, true).await.unwrap();
    assert_eq!(cared_for(db, "alpha").await, ["production"]);
    assert_eq!(cared_for(db, "beta").await, ["cluster", "other"]);
    // Beta falls silent.
    db.take_care(&site("beta"), SHORT, true).await.unwrap();
    until("its environments are taken over", async || {
        db.take_care(&site("alpha"), LONG, false).await.unwrap();
        cared_for(db, "alpha").await == ["cluster", "other", "production"]
    })
    .await;
    assert_eq!(cared_for(db, "beta").await, [""; 0]);
    // Alpha ends, and says so.
    db.sign_off(&site("alpha"), &daemon("alpha", "boot")).await.unwrap();
    assert_eq!(cared_for(db, "alpha").await, [""; 0]);
    db.take_care(&site("beta"), LONG, false).await.unwrap();
    assert_eq!(cared_for(db, "beta").await, ["cluster", "other"]);
    let refused = db.adopt(&name("cluster"), &site("beta"), true, "ada", time(1)).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0164", "nobody has to");
    scene.end(fresh).await;
}

/// What is found from every home of the database belongs to one of them all the same: its proxy has the traffic.
pub async fn a_swarm_goes_on_where_it_is_adopted(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place, beta) = (&scene.db, &scene.environment, site("beta"));
    let on_swarm = |version| {
        let mut request = scene.to_deploy(version);
        request.contents.settings.provider = ProviderKind::Swarm;
        request
    };
    let settings = on(ProviderKind::Swarm);
    db.apply_environment(place, "shop", &settings, &[], "ada", time(0)).await.unwrap();
    let of = |host| DeploymentExecutor::new(db.clone(), ports(&scene, host));
    for version in ["1.0", "1.1"] {
        of("alpha").deploy(&on_swarm(version)).await.unwrap();
    }
    assert_eq!(db.environment(place).await.unwrap().owner.as_deref(), Some("id of alpha"));
    assert_eq!(of("beta").deploy(&on_swarm("1.2")).await.unwrap_err().code(), "ORC-0162");
    for host in ["alpha", "beta"] {
        db.beat(&site(host), &daemon(host, "boot"), "0.1.0", LONG).await.unwrap();
        db.take_care(&site(host), LONG, true).await.unwrap();
    }
    assert_eq!(
        (cared_for(db, "alpha").await, cared_for(db, "beta").await),
        (vec![place.to_string()], vec![])
    );

    db.adopt(place, &beta, true, "bob", time(9)).await.unwrap();
    let mut states: Vec<_> =
        db.slots(place).await.unwrap().into_iter().map(|slot| slot.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["live", "warm"], "both run where beta finds them");
    assert_eq!(of("alpha").deploy(&on_swarm("1.2")).await.unwrap_err().code(), "ORC-0162");
    let rollback = DeploymentRollback::new(db.clone(), ports(&scene, "beta"));
    let rolled = rollback.rollback(&scene.forced()).await.unwrap();
    assert_eq!((rolled.target_version, rolled.path.as_str()), (v("1.0"), "warm"));
    scene.end(fresh).await;
}

pub async fn nobody_takes_what_may_run_on_another_site(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place, beta) = (&scene.db, &scene.environment, site("beta"));
    let of_beta = DeploymentExecutor::new(db.clone(), ports(&scene, "beta"));
    // As an older program did, which recorded no owner.
    scene.deploy("1.0").await;
    db.beat(&site("alpha"), &daemon("alpha", "boot"), "0.1.0", LONG).await.unwrap();
    let refused = of_beta.deploy(&scene.to_deploy("1.1")).await.unwrap_err();
    assert_eq!(refused.code(), "ORC-0162");
    assert!(refused.hint_text().unwrap().contains("env adopt production"), "{refused:?}");
    assert_eq!(db.environment(place).await.unwrap().owner, None);
    db.adopt(place, &beta, false, "bob", time(9)).await.unwrap();
    of_beta.deploy(&scene.to_deploy("1.1")).await.unwrap();
    scene.end(fresh).await;
}

pub async fn a_database_has_one_identity(fresh: Fresh) {
    let db = fresh.open().await;
    let identity = db.identity().await.unwrap();
    assert!(identity.len() == 32 && identity.chars().all(|c| c.is_ascii_hexdigit()), "{identity}");
    assert_eq!(fresh.open().await.identity().await.unwrap(), identity);
    fresh.clear_up(db).await;
}

pub async fn what_an_older_program_deployed_gets_an_owner(fresh: Fresh) {
    let scene = Scene::new(&fresh).await;
    let (db, place, alpha) = (&scene.db, &scene.environment, site("alpha"));
    assert_eq!(db.without_owner().await.unwrap(), [], "nothing runs");
    scene.deploy("1.0").await;
    assert_eq!(db.without_owner().await.unwrap(), std::slice::from_ref(place));
    assert!(db.is_only_site(&alpha).await.unwrap());
    db.beat(&site("beta"), &daemon("beta", "boot"), "0.1.0", LONG).await.unwrap();
    assert!(!db.is_only_site(&alpha).await.unwrap());
    assert!(db.own(place, &alpha).await.unwrap());
    assert!(!db.own(place, &site("beta")).await.unwrap(), "it has one");
    assert_eq!(db.environment(place).await.unwrap().owner, Some(alpha.id));
    assert_eq!(db.without_owner().await.unwrap(), []);
    scene.end(fresh).await;
}

pub async fn a_duty_is_one_sites_at_a_time(fresh: Fresh) {
    let db = fresh.open().await;
    let many = (0..8).map(|number| {
        let db = db.clone();
        tokio::spawn(async move { db.take_duty("channel/x", &format!("site {number}"), LONG).await.unwrap() })
    });
    let mut taken = 0;
    for one in many.collect::<Vec<_>>() {
        taken += u32::from(one.await.unwrap());
    }
    assert_eq!(taken, 1);
    assert!(db.take_duty("channel/y", "alpha", LONG).await.unwrap());
    assert!(db.take_duty("channel/y", "alpha", LONG).await.unwrap(), "kept");
    assert!(db.has_duty("channel/y", "alpha", Span::default()).await.unwrap());
    assert!(!db.has_duty("channel/y", "alpha", LONG.plus(LONG)).await.unwrap());
    assert!(!db.take_duty("channel/y", "beta", LONG).await.unwrap());
    db.leave_duty("channel/y", "beta").await.unwrap();
    assert!(!db.take_duty("channel/y", "beta", LONG).await.unwrap(), "it was not beta's to leave");
    db.leave_duty("channel/y", "alpha").await.unwrap();
    assert!(db.take_duty("channel/y", "beta", SHORT).await.unwrap());
    until("its time is up", async || db.take_duty("channel/y", "alpha", LONG).await.unwrap()).await;
    assert!(!db.has_duty("channel/y", "beta", Span::default()).await.unwrap());
    fresh.clear_up(db).await;
}
