//! Sites that a web server of the user's serves: each release is a directory that does not change, and a link leads to the
//! one that is live. A switch is one `rename(2)` of a new link over the old one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use orchestrate_core::ports::{
    Instance, InstanceState, Placement, PortError, PortErrorKind, PortResult, Processes,
};

use crate::artifact::ArtifactStore;
use crate::elsewhere::book::{Book, Route};
use crate::elsewhere::router::{Elsewhere, Look, Means};
use crate::elsewhere::turn::Turn;
use crate::process::{blocking, instance_id};
use crate::spec::{RunSpec, RunSpecs};

/// Traffic that follows a link.
pub type LinkRouter = Elsewhere<Link>;

pub struct Link {
    store: Arc<ArtifactStore>,
}

impl LinkRouter {
    /// Touches nothing until it is used. Every program of a home may have one.
    pub fn new(home: &Path, store: Arc<ArtifactStore>, specs: Arc<dyn RunSpecs>) -> Self {
        Self {
            book: book(home),
            directory: home.join("static"),
            specs,
            means: Link { store },
            web: Default::default(),
        }
    }
}

/// What is kept of such sites.
pub fn book(home: &Path) -> Book {
    Book::new(home.join("static.json"))
}

/// The link of a release, and its own directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub link: PathBuf,
    pub release: PathBuf,
    /// What the link leads to.
    pub served: PathBuf,
}

impl Places {
    pub fn of(spec: &RunSpec, placement: &Placement) -> PortResult<Self> {
        let site = spec.engine.r#static.as_ref();
        let Some((site, link)) = site.and_then(|site| Some((site, PathBuf::from(site.symlink.as_ref()?))))
        else {
            return Err(PortError::failed(format!("{} was sealed without a `symlink`", spec.version)));
        };
        let beside = || link.parent().unwrap_or(Path::new("/")).join("releases");
        let releases = site.releases.as_ref().map_or_else(beside, PathBuf::from);
        let Placement { environment, slot, release, .. } = placement;
        let release = releases.join(format!("{environment}-{slot}-{release}"));
        let served = if site.root.is_empty() { release.clone() } else { release.join(&site.root) };
        Ok(Self { link, release, served })
    }

    /// Whether the link leads here.
    fn is_live(&self) -> bool {
        fs::read_link(&self.link).is_ok_and(|target| target == self.served)
    }
}

/// Puts the release there, readable by everybody, if it is not there byte for byte. Blocks.
pub fn put(store: &ArtifactStore, spec: &RunSpec, places: &Places) -> PortResult<()> {
    let release = &places.release;
    let failed =
        |cause: io::Error| PortError::failed(format!("{} cannot be made: {cause}", release.display()));
    if release.is_dir() && store.is_intact(&spec.digest, release)? {
        return served(places);
    }
    if places.is_live() {
        // Users would see it come and go; somebody has to say what shall become of it.
        let what = format!("{} is live, and is not what was sealed any more", release.display());
        return Err(
            PortError::failed(what).detail("put back what was changed there, or deploy another version")
        );
    }
    let part = release.with_extension("part");
    for old in [&part, release] {
        gone(fs::remove_dir_all(old)).map_err(failed)?;
    }
    if let Some(parent) = release.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    store.materialise(&spec.digest, &part)?;
    readable(&part).and_then(|()| fs::rename(&part, release)).map_err(failed)?;
    served(places)
}

fn served(places: &Places) -> PortResult<()> {
    let found = places.served.is_dir();
    let missing = || {
        PortError::new(PortErrorKind::Missing, format!("there is no directory {}", places.served.display()))
    };
    found.then_some(()).ok_or_else(missing)
}

/// Takes the release away, unless the link leads to it: users are served by it until it does not. Blocks.
pub fn take_away(places: &Places) -> PortResult<bool> {
    if places.is_live() {
        return Ok(false);
    }
    gone(fs::remove_dir_all(&places.release)).map(|()| true).map_err(|cause| {
        PortError::failed(format!("{} cannot be removed: {cause}", places.release.display()))
    })
}

/// The instances of a release that is there; a directory needs no second one, but a number is a number.
pub fn instances(
    spec: &RunSpec,
    placement: &Placement,
    places: &Places,
    since: orchestrate_core::time::Timestamp,
) -> Vec<Instance> {
    let state = if places.served.is_dir() { InstanceState::Ready } else { InstanceState::Unhealthy };
    let one = |wanted: crate::spec::Wanted<'_>| Instance {
        id: instance_id(placement.slot.as_str(), wanted.process, wanted.number),
        placement: placement.clone(),
        process: wanted.process.to_owned(),
        address: None,
        pid: None,
        state,
        restarts: 0,
        started_at: since,
        last_exit: None,
    };
    spec.wanted(Processes::All, None).map(one).collect()
}

#[async_trait]
impl Means for Link {
    async fn look(&self, route: &Route, spec: &RunSpec) -> PortResult<Look> {
        let places = Places::of(spec, &route.placement)?;
        let there = places.served.is_dir();
        let count =
            |kind: &orchestrate_core::environment::ProcessType| if there { kind.instances } else { 0 };
        let ready: BTreeMap<String, u32> =
            spec.processes.iter().map(|(name, kind)| (name.clone(), count(kind))).collect();
        Ok(Look { weight: if places.is_live() { 100 } else { 0 }, in_flight: 0, ready, shares: false })
    }

    async fn give(
        &self,
        _: &Turn,
        asked: &Placement,
        spec: &RunSpec,
        shares: &[(&Route, u8)],
    ) -> PortResult<()> {
        let (store, digest, asked) = (Arc::clone(&self.store), spec.digest.clone(), Places::of(spec, asked)?);
        // There is never more than one share here.
        let leads = !shares.is_empty();
        blocking(move || {
            if !leads {
                return lead_nowhere(&asked);
            }
            if !asked.is_live() && !store.is_intact(&digest, &asked.release)? {
                // A rollback then puts it there anew.
                let what = format!("{} is not what was sealed any more", asked.release.display());
                return Err(PortError::new(PortErrorKind::NotReady, what));
            }
            lead_to(&asked.link, &asked.served)
        })
        .await
    }

    fn url<'a>(&self, spec: &'a RunSpec) -> Option<&'a str> {
        spec.engine.r#static.as_ref()?.url.as_deref()
    }
}

/// At every moment there is a link, and it leads to a release. On disk when this returns.
fn lead_to(link: &Path, target: &Path) -> PortResult<()> {
    let change = || -> io::Result<()> {
        if fs::read_link(link).is_ok_and(|there| there == target) {
            return Ok(());
        }
        if fs::symlink_metadata(link).is_ok_and(|about| !about.is_symlink()) {
            return Err(io::Error::other("something that is not a link is in its place"));
        }
        let name = link.file_name().unwrap_or_default().to_string_lossy();
        let next = link.with_file_name(format!(".{name}.{}.next", std::process::id()));
        gone(fs::remove_file(&next))?;
        symlink(target, &next)?;
        fs::rename(&next, link)?;
        let directory = link.parent().unwrap_or(link);
        File::open(directory)?.sync_all()
    };
    change().map_err(|cause| {
        PortError::failed(format!("the link {} cannot lead to {}: {cause}", link.display(), target.display()))
    })
}

/// Removes the link if it leads to a release of ours.
fn lead_nowhere(places: &Places) -> PortResult<()> {
    let ours = fs::read_link(&places.link)
        .is_ok_and(|target| places.release.parent().is_some_and(|releases| target.starts_with(releases)));
    if !ours {
        return Ok(());
    }
    gone(fs::remove_file(&places.link)).map_err(|cause| {
        PortError::failed(format!("the link {} cannot be removed: {cause}", places.link.display()))
    })
}

/// Whatever the umask made of it: the web server is another user.
fn readable(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            readable(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            fs::set_permissions(
                entry.path(),
                fs::Permissions::from_mode(entry.metadata()?.permissions().mode() | 0o444),
            )?;
        }
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
