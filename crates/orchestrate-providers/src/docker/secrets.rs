//! Secrets as files of a container. They are in the memory of the machine, in a directory that the container mounts: no description
//! of the container has them, no disk, and they are still there when the engine starts the container again by itself.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, Mount, MountType};
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use orchestrate_core::environment::SecretsAs;
use orchestrate_core::ports::{PortError, PortResult};

use super::engine::told;
use super::shared::Shared;
use crate::spec::RunSpec;

/// Where they are inside, as the engine's own secrets of a swarm are.
const INSIDE: &str = "/run/secrets";
/// Memory on every Linux, and gone with the boot.
const MEMORY: &str = "/dev/shm";
/// What the kernel calls file systems that are in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// The longest `/etc/passwd` that is read.
const MOST_USERS: usize = 4 << 20;

/// Whether the secrets of the release are files and not variables.
pub(crate) fn are_files(spec: &RunSpec) -> bool {
    let of_docker = spec.engine.docker.as_ref().map(|docker| docker.secrets);
    let of_swarm = spec.engine.swarm.as_ref().map(|swarm| swarm.secrets);
    !spec.secrets.is_empty() && of_docker.or(of_swarm).unwrap_or_default() == SecretsAs::Files
}

/// Has a container that is about to be made mount them.
pub(super) fn mount(
    shared: &Shared,
    spec: &RunSpec,
    name: &str,
    body: &mut ContainerCreateBody,
) -> PortResult<()> {
    if !are_files(spec) {
        return Ok(());
    }
    let room = room(shared, name).map_err(|cause| unusable(shared, &cause))?;
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(room.display().to_string()),
        target: Some(INSIDE.to_owned()),
        // The engine puts nothing into what can only be read.
        read_only: Some(false),
        ..Mount::default()
    };
    body.host_config.get_or_insert_default().mounts.get_or_insert_default().push(mount);
    Ok(())
}

/// Puts them there, before the container is started for the first time. The engine does so, which may give a file to any user.
pub(super) async fn lay(shared: &Shared, spec: &RunSpec, name: &str) -> PortResult<()> {
    if !are_files(spec) {
        return Ok(());
    }
    let client = shared.engine.client().await?;
    let cannot =
        |cause: &dyn std::fmt::Display| PortError::failed(format!("{name} cannot have its secrets: {cause}"));
    let made = client.inspect_container(name, None).await.map_err(|error| cannot(&error))?;
    let user = made.config.and_then(|config| config.user).unwrap_or_default();
    let owner = number_of(&client, name, &user).await?;
    let packed = packed(spec, owner).map_err(|cause| cannot(&cause))?;
    let options = UploadToContainerOptionsBuilder::new().path(INSIDE).build();
    let laid = client.upload_to_container(name, Some(options), bollard::body_full(packed.into())).await;
    laid.map_err(|error| told(&format!("{name} cannot have its secrets"), &error))
}

/// Each is a file that only its owner can read.
fn packed(spec: &RunSpec, owner: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, value) in &spec.secrets {
        if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
            let name = name.escape_debug();
            return Err(io::Error::other(format!("`{name}` is no name of a file")));
        }
        let bytes = value.expose().as_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o400);
        header.set_uid(owner);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)?;
    }
    archive.into_inner()
}

/// The number of a container's user, as the engine names it: nothing, `name`, `number`, or one of them with a group.
pub(super) async fn number_of(client: &bollard::Docker, name: &str, user: &str) -> PortResult<u64> {
    let user = user.split(':').next().unwrap_or_default();
    match (user, user.parse()) {
        ("", _) => Ok(0),
        (_, Ok(number)) => Ok(number),
        ("root", Err(_)) => Ok(0),
        (_, Err(_)) => {
            let users = file_of(client, name, "/etc/passwd").await.unwrap_or_default();
            in_passwd(&users, user).ok_or_else(|| {
                PortError::failed(format!("the image has no user {user}, to whom its secrets would belong"))
                    .detail("write the user in numbers: `user: \"1001:1001\"`")
            })
        }
    }
}

fn in_passwd(users: &str, wanted: &str) -> Option<u64> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(wanted)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// A small text of a container that need not run.
async fn file_of(client: &bollard::Docker, name: &str, path: &str) -> Option<String> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut chunks = std::pin::pin!(client.download_from_container(name, Some(options)));
    let mut packed: Vec<Bytes> = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        packed.push(chunk);
        if packed.iter().map(Bytes::len).sum::<usize>() > MOST_USERS {
            return None;
        }
    }
    let packed = packed.concat();
    let mut archive = tar::Archive::new(packed.as_slice());
    let entry = archive.entries().ok()?.next()?.ok()?;
    io::read_to_string(entry).ok()
}

/// All of this home, readable by nobody else.
fn all_rooms(shared: &Shared) -> PathBuf {
    Path::new(MEMORY).join(format!("orchestrate-{}", shared.home_mark))
}

/// The directory of one container; its files are closed to all but their owner, and others do not get to the directory.
fn room(shared: &Shared, name: &str) -> io::Result<PathBuf> {
    let all = all_rooms(shared);
    match DirBuilder::new().mode(0o700).create(&all) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    // Anybody may make a directory there, also by this name.
    let about = fs::symlink_metadata(&all)?;
    let is_ours =
        about.is_dir() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o077 == 0;
    if !is_ours {
        return Err(io::Error::other("it is somebody else's, or others may read it"));
    }
    let kind = u64::try_from(rustix::fs::statfs(&all)?.f_type).unwrap_or_default();
    if !IN_MEMORY.contains(&kind) {
        return Err(io::Error::other("it is not in memory"));
    }
    let room = all.join(name);
    fs::create_dir_all(&room)?;
    fs::set_permissions(&room, Permissions::from_mode(0o755))?;
    Ok(room)
}

fn unusable(shared: &Shared, cause: &io::Error) -> PortError {
    let all = all_rooms(shared);
    PortError::failed(format!("secrets cannot be files in {}: {cause}", all.display()))
        .detail(format!("see whose it is: ls -ld {}; or leave `secrets: files` out", all.display()))
}

/// With its container they go.
pub(super) fn clear(shared: &Shared, name: &str) {
    let room = all_rooms(shared).join(name);
    match fs::remove_dir_all(&room) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(room = %room.display(), %cause, "the secrets of a container that is gone are left");
        }
        _ => {}
    }
}

/// Removes those of all others than these containers.
pub(super) fn sweep(shared: &Shared, kept: &[String]) {
    for entry in fs::read_dir(all_rooms(shared)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| !kept.iter().any(|kept| kept == name)) {
            clear(shared, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nshopping:x:7:7::/:\nshop:x:1001:1002::/:/bin/false\nodd\n";
        assert_eq!(in_passwd(users, "shop"), Some(1001));
        assert_eq!(
            (in_passwd(users, "sho"), in_passwd(users, "odd"), in_passwd("", "shop")),
            (None, None, None)
        );
    }
}
