//! Sites behind a link, as a real nginx serves them: switched under load, rolled back, never half of one and half of another.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::World;
use orchestrate_core::environment::{Engine, ProcessType, Static};
use orchestrate_core::name::{EnvironmentName, Fence, ReleaseId, Version};
use orchestrate_core::ports::{
    AwaitHealthy, Backend, Close, Deregister, Drain, Fetch, Placement, PortErrorKind, PortResult, Processes,
    Prove, Provider as _, Register, Router as _, StartRequest, StopRequest, Switch,
};
use orchestrate_core::slot::Slot;
use orchestrate_core::time::Span;
use orchestrate_core::traffic::{Shift, TrafficRules};
use orchestrate_providers::RunSpec;
use orchestrate_providers::static_site::{LinkRouter, StaticSites};
use orchestrate_testkit::User;
use tempfile::TempDir;

struct Stage {
    world: World,
    sites: StaticSites,
    router: LinkRouter,
    /// Where the link is, for everybody to read.
    place: TempDir,
    address: SocketAddr,
    nginx: Option<Child>,
}

impl Stage {
    async fn new() -> Self {
        let (mut world, place) = (World::closed(), TempDir::new().unwrap());
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let processes = world.open().await;
        let (home, store, specs) = (world.home.path(), Arc::clone(&world.store), world.specs.clone());
        let sites = StaticSites::new(home.to_path_buf(), Arc::clone(&store), specs.clone(), processes);
        let router = LinkRouter::new(home, store, specs);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        Self { world, sites, router, place, address, nginx: None }
    }

    fn link(&self) -> PathBuf {
        self.place.path().join("current")
    }

    /// Debian's nginx, as another user, with the link as its root.
    async fn serve(&mut self) {
        let place = self.place.path().display();
        let configuration = format!(
            "daemon off; pid {place}/nginx.pid; error_log stderr; worker_processes 2; user nobody nogroup;
             events {{ }}
             http {{ access_log off; client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
                uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5; types {{ text/html html; }}
                server {{ listen {}; root {place}/current; }} }}",
            self.address
        );
        let file = self.place.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg("stderr").arg("-c").arg(&file).stdin(Stdio::null());
        self.nginx = Some(command.spawn().expect("nginx is needed: scripts/install-test-tools"));
        let address = self.address;
        common::until(|| std::net::TcpStream::connect(address).ok()).await;
    }

    fn placement(&self, number: i64) -> Placement {
        Placement {
            environment: EnvironmentName::new("production").unwrap(),
            slot: if number % 2 == 1 { Slot::Blue } else { Slot::Green },
            release: ReleaseId(number),
            version: Version::new(format!("1.{number}.0")).unwrap(),
        }
    }

    fn seal(&self, number: i64) -> (Placement, Fetch) {
        let placement = self.placement(number);
        let source = TempDir::new().unwrap();
        fs::create_dir(source.path().join("sub")).unwrap();
        for file in ["index.html", "version", "sub/page.html"] {
            fs::write(source.path().join(file), placement.version.as_str()).unwrap();
        }
        let artifact = self.world.store.take_in_path(source.path(), None).unwrap();
        let site = Static {
            symlink: Some(self.link().display().to_string()),
            url: Some(format!("http://{}", self.address)),
            ..Static::default()
        };
        let web = ProcessType {
            command: Vec::new(),
            instances: 1,
            listen: Some("0.0.0.0:80".parse().unwrap()),
            confinement: Default::default(),
        };
        let spec = RunSpec {
            service: "site".into(),
            environment: placement.environment.clone(),
            engine: Engine { r#static: Some(site), ..Engine::default() },
            image: None,
            drain: Span::from_secs(30),
            version: placement.version.clone(),
            digest: artifact.digest.clone(),
            processes: BTreeMap::from([("web".to_owned(), web)]),
            confinement: Default::default(),
            health_check: Default::default(),
            stop_timeout: Span::from_secs(5),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        self.world.seal(placement.release, spec);
        let fetch = Fetch { release: placement.release, artifact: artifact.digest, size: 0 };
        (placement, fetch)
    }

    async fn start(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let request = StartRequest {
            placement: placement.clone(),
            processes: Processes::Routed,
            counts: None,
            fence: Fence(fence),
        };
        self.sites.start(&request).await.map(drop)
    }

    async fn stop(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let request = StopRequest {
            placement: placement.clone(),
            processes: Processes::All,
            counts: None,
            fence: Fence(fence),
        };
        self.sites.stop(&request).await
    }

    /// Seals a release, puts it there, and has the router know it.
    async fn place(&self, number: i64) -> Placement {
        let (placement, fetch) = self.seal(number);
        self.sites.fetch(&fetch).await.unwrap();
        self.start(&placement, 1).await.unwrap();
        let wait = AwaitHealthy {
            placement: placement.clone(),
            processes: Processes::Routed,
            counts: None,
            deadline: Span::from_secs(10),
        };
        let ready = self.sites.await_healthy(&wait).await.unwrap();
        assert_eq!(ready.len(), 1);
        let backend = Backend {
            process: "web".into(),
            listen: "0.0.0.0:80".parse().unwrap(),
            instances: BTreeMap::new(),
            health_check: Default::default(),
        };
        let register =
            Register { placement: placement.clone(), backends: vec![backend], drain: None, fence: Fence(1) };
        self.router.register(&register).await.unwrap();
        placement
    }

    async fn switch(&self, placement: &Placement, fence: i64) -> PortResult<()> {
        let needs = BTreeMap::from([("web".to_owned(), 1)]);
        self.router.switch(&Switch { placement: placement.clone(), needs, fence: Fence(fence) }).await
    }

    async fn prove(&self, placement: &Placement) -> PortResult<u16> {
        let request = Prove {
            placement: placement.clone(),
            listen: "0.0.0.0:80".parse().unwrap(),
            path: "/version".into(),
            expected_status: 200,
            contains: Some("{version}".into()),
            timeout: Span::from_secs(5),
            directed: false,
        };
        self.router.prove(&request).await.map(|proof| proof.status)
    }

    async fn answers(&self, path: &str) -> (u16, String) {
        User::new(self.address).get(path).await.unwrap()
    }

    fn directory(&self, placement: &Placement) -> PathBuf {
        let Placement { environment, slot, release, .. } = placement;
        self.place.path().join("releases").join(format!("{environment}-{slot}-{release}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(nginx.id()).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = nginx.wait();
        }
    }
}

#[tokio::test]
async fn many_switches_under_load_fail_no_request() {
    let mut stage = Stage::new().await;
    let (first, second) = (stage.place(1).await, stage.place(2).await);
    stage.switch(&first, 1).await.unwrap();
    stage.serve().await;
    assert_eq!(stage.prove(&first).await.unwrap(), 200);
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..4)
        .map(|_| {
            let (over, mut user) = (Arc::clone(&over), User::new(stage.address));
            tokio::spawn(async move {
                let (mut seen, mut failures) = (BTreeMap::<String, u32>::new(), Vec::new());
                while !over.load(Ordering::SeqCst) {
                    match user.get("/sub/page.html").await {
                        Ok((200, version)) => *seen.entry(version).or_default() += 1,
                        other => failures.push(format!("{other:?}")),
                    }
                }
                (seen, failures)
            })
        })
        .collect();
    for _ in 0..250 {
        for placement in [&second, &first] {
            stage.switch(placement, 2).await.unwrap();
            let (status, version) = stage.answers("/version").await;
            assert_eq!(
                (status, version.as_str()),
                (200, placement.version.as_str()),
                "a switch is seen at once"
            );
        }
    }
    over.store(true, Ordering::SeqCst);
    for user in users {
        let (seen, failures) = common::in_time(user).await.unwrap();
        assert!(failures.is_empty(), "{} failed of {seen:?}: {:?}", failures.len(), failures.first());
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["1.1.0", "1.2.0"], "{seen:?}");
    }
    assert_eq!(stage.prove(&first).await.unwrap(), 200);
    let error = stage.prove(&second).await.unwrap_err();
    assert!(error.message.contains("1.1.0 has the traffic of production, not 1.2.0"), "{error}");
}

#[tokio::test]
async fn the_router_says_what_the_link_says() {
    let stage = Stage::new().await;
    let (first, second) = (stage.place(1).await, stage.place(2).await);
    let shares = async || -> Vec<(i64, u8)> {
        let view = stage.router.observe(&first.environment).await.unwrap();
        view.slots.iter().map(|slot| (slot.release.0, slot.weight)).collect()
    };
    assert_eq!(shares().await, [(1, 0), (2, 0)]);
    stage.switch(&first, 3).await.unwrap();
    assert_eq!(shares().await, [(1, 100), (2, 0)]);
    // Somebody does it by hand.
    fs::remove_file(stage.link()).unwrap();
    symlink(stage.directory(&second), stage.link()).unwrap();
    assert_eq!(shares().await, [(1, 0), (2, 100)]);
    assert_eq!(stage.switch(&first, 2).await.unwrap_err().kind, PortErrorKind::Fenced);
    assert_eq!(shares().await, [(1, 0), (2, 100)]);
    stage.switch(&first, 3).await.unwrap();

    let shift = |weight| Shift {
        placement: second.clone(),
        weight,
        rest: first.clone(),
        needs: BTreeMap::new(),
        rules: TrafficRules::default(),
        fence: Fence(3),
    };
    let error = stage.router.shift(&shift(10)).await.unwrap_err();
    assert!(error.message.contains("cannot give 10 % of the traffic to 1.2.0"), "{error}");
    stage.router.shift(&shift(100)).await.unwrap();
    assert_eq!(shares().await, [(1, 0), (2, 100)]);
    let drain = |placement: &Placement| Drain {
        placement: placement.clone(),
        deadline: Span::from_secs(60),
        fence: Fence(3),
    };
    assert_eq!(stage.router.drain(&drain(&second)).await.unwrap_err().kind, PortErrorKind::Failed);
    assert_eq!(common::in_time(stage.router.drain(&drain(&first))).await.unwrap().cut, 0);
    let leave = |placement: &Placement| Deregister {
        environment: placement.environment.clone(),
        slot: placement.slot,
        release: placement.release,
        fence: Fence(3),
    };
    assert_eq!(stage.router.deregister(&leave(&second)).await.unwrap_err().kind, PortErrorKind::Failed);
    stage.router.deregister(&leave(&first)).await.unwrap();
    assert_eq!(shares().await, [(2, 100)]);
    stage.router.close(&Close { environment: first.environment.clone(), fence: Fence(3) }).await.unwrap();
    assert_eq!(shares().await, []);
    assert!(fs::symlink_metadata(stage.link()).is_err());
}

#[tokio::test]
async fn a_release_is_put_there_whole_and_goes_when_it_is_not_served_any_more() {
    let stage = Stage::new().await;
    let first = stage.place(1).await;
    let instances = stage.sites.instances(&first.environment).await.unwrap();
    assert_eq!(instances.len(), 1);
    stage.start(&first, 1).await.unwrap();
    assert_eq!(stage.sites.instances(&first.environment).await.unwrap(), instances);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&stage.directory(&first)), mode(&stage.directory(&first).join("sub/page.html"))),
        (0o755, 0o644)
    );
    stage.switch(&first, 1).await.unwrap();
    // As `recreate` does: what serves stays until something else does.
    stage.stop(&first, 1).await.unwrap();
    assert_eq!(stage.sites.instances(&first.environment).await.unwrap(), []);
    assert!(stage.directory(&first).exists());
    let second = stage.place(2).await;
    stage.switch(&second, 1).await.unwrap();
    stage.stop(&first, 1).await.unwrap();
    stage.stop(&first, 1).await.unwrap();
    assert!(!stage.directory(&first).exists());
    assert_eq!(stage.sites.instances(&first.environment).await.unwrap().len(), 1);
    assert_eq!(stage.stop(&second, 0).await.unwrap_err().kind, PortErrorKind::Fenced);
    // The next one in the slot takes the place of what is there.
    let (third, _) = stage.seal(3);
    stage.start(&third, 2).await.unwrap();
    let (fifth, _) = stage.seal(5);
    stage.start(&fifth, 2).await.unwrap();
    assert!(!stage.directory(&third).exists() && stage.directory(&fifth).exists());
}

#[tokio::test]
async fn what_somebody_changed_is_told_and_mended_where_nobody_sees_it() {
    let stage = Stage::new().await;
    let (first, second) = (stage.place(1).await, stage.place(2).await);
    stage.switch(&first, 1).await.unwrap();
    for placement in [&first, &second] {
        assert_eq!(stage.sites.drift(placement, Processes::All).await.unwrap(), [""; 0]);
        fs::write(stage.directory(placement).join("index.html"), "hacked").unwrap();
        assert_eq!(stage.sites.drift(placement, Processes::All).await.unwrap().len(), 1);
    }
    let error = stage.switch(&second, 1).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotReady, "{error}");
    stage.start(&second, 1).await.unwrap();
    stage.switch(&second, 1).await.unwrap();
    stage.switch(&first, 1).await.unwrap_err();
    stage.start(&first, 1).await.unwrap();
    stage.switch(&first, 1).await.unwrap();
    fs::write(stage.directory(&first).join("index.html"), "hacked").unwrap();
    assert_eq!(fs::read_to_string(stage.directory(&second).join("index.html")).unwrap(), "1.2.0");
    let error = stage.start(&first, 1).await.unwrap_err();
    assert!(error.message.contains("is live, and is not what was sealed"), "{error}");
}

#[tokio::test]
async fn a_link_that_is_none_is_not_replaced() {
    let stage = Stage::new().await;
    let first = stage.place(1).await;
    fs::create_dir(stage.link()).unwrap();
    fs::write(stage.link().join("index.html"), "by hand").unwrap();
    let error = stage.switch(&first, 1).await.unwrap_err();
    assert!(error.message.contains("not a link is in its place"), "{error}");
    assert!(stage.link().join("index.html").exists());
    let (lost, fetch) = stage.seal(2);
    fs::remove_dir_all(stage.world.home.path().join("artifacts").join(fetch.artifact.as_str())).unwrap();
    assert_eq!(stage.sites.fetch(&fetch).await.unwrap_err().kind, PortErrorKind::Missing);
    assert!(stage.start(&lost, 1).await.is_err());
    assert!(!stage.directory(&lost).exists());
}
