//! With which name and password a registry is asked: as `docker login` left them in `~/.docker/config.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// Under which name the public registry stands in the file.
const HUB: &str = "https://index.docker.io/v1/";
const HELPER_PATIENCE: Duration = Duration::from_secs(30);
/// What a helper says instead of a name where the secret is a token.
const TOKEN: &str = "<token>";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Login>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FromHelper {
    username: String,
    secret: String,
}

/// None where nobody logged in; why not, where somebody did and it cannot be read.
pub(crate) async fn of_registry(registry: Option<&str>) -> Result<Option<DockerCredentials>, String> {
    let Some(path) = path() else { return Ok(None) };
    let Ok(bytes) = tokio::fs::read(&path).await else { return Ok(None) };
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|cause| format!("{} cannot be understood: {cause}", path.display()))?;
    let registry = registry.unwrap_or(HUB);
    if let Some(helper) = config.cred_helpers.get(registry).or(config.creds_store.as_ref()) {
        return from_helper(helper, registry).await;
    }
    let login = config.auths.iter().find(|(name, _)| *name == registry || host(name) == registry);
    login.map_or(Ok(None), |(_, login)| from_file(login, registry))
}

fn path() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(directory.join("config.json"))
}

fn host(name: &str) -> &str {
    let name = name.trim_start_matches("https://").trim_start_matches("http://");
    name.split('/').next().unwrap_or(name)
}

fn from_file(login: &Login, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let mut found = DockerCredentials {
        serveraddress: Some(registry.to_owned()),
        identitytoken: login.identitytoken.clone(),
        ..DockerCredentials::default()
    };
    if let Some(auth) = login.auth.as_ref().filter(|auth| !auth.is_empty()) {
        let wrong = || format!("the login of {registry} in the Docker config file cannot be understood");
        let bytes = STANDARD.decode(auth).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (name, password) = text.split_once(':').ok_or_else(wrong)?;
        found.username = Some(name.to_owned());
        found.password = Some(password.trim_end_matches('\0').to_owned());
    }
    Ok((found.username.is_some() || found.identitytoken.is_some()).then_some(found))
}

/// Asks `docker-credential-NAME`, as the `docker` command does.
async fn from_helper(helper: &str, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |cause: &dyn std::fmt::Display| format!("{program} gives no login for {registry}: {cause}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| failed(&cause))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).await.map_err(|cause| failed(&cause))?;
    }
    let ended = timeout(HELPER_PATIENCE, child.wait_with_output()).await;
    let output = ended.map_err(|_| failed(&"it does not end"))?.map_err(|cause| failed(&cause))?;
    if !output.status.success() {
        // So it says that nobody logged in there.
        return Ok(None);
    }
    let found: FromHelper = serde_json::from_slice(&output.stdout).map_err(|cause| failed(&cause))?;
    let mut login =
        DockerCredentials { serveraddress: Some(registry.to_owned()), ..DockerCredentials::default() };
    if found.username == TOKEN {
        login.identitytoken = Some(found.secret);
    } else {
        (login.username, login.password) = (Some(found.username), Some(found.secret));
    }
    Ok(Some(login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_as_the_docker_command_wrote_it() {
        let login = Login { auth: Some(STANDARD.encode("ada:p:w")), identitytoken: None };
        let found = from_file(&login, "registry.internal").unwrap().unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("ada"), Some("p:w")));
        assert!(from_file(&Login::default(), "registry.internal").unwrap().is_none(), "it is in a helper");
        let torn = Login { auth: Some("!".into()), identitytoken: None };
        let error = from_file(&torn, "registry.internal").unwrap_err();
        assert!(!error.contains('!') && error.contains("registry.internal"), "{error}");
        assert_eq!(host("https://registry.internal/v2/"), "registry.internal");
    }
}
