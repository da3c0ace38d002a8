//! Debian's docker-registry on a loopback port, for pulls.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use tempfile::TempDir;

/// Gone with all that it has when it is dropped.
pub struct Registry {
    pub port: u16,
    address: String,
    directory: TempDir,
    server: Option<Child>,
    /// Whether it asks for a login.
    closed: bool,
}

/// The login of a registry that asks for one, and its line of an `htpasswd`: bcrypt of the password `wonder`.
const LOGIN: (&str, &str) = ("alice", "wonder");
const HTPASSWD: &str = "alice:$2b$04$iB30hBUHOzA.q/tcrLhDu.GE/ao90wFhNTaSk81rN8cgNZWm4Erh6\n";

impl Registry {
    pub fn start() -> Self {
        Self::with("127.0.0.1", false)
    }

    /// One that other machines reach at this address of ours.
    pub fn at(address: &str) -> Self {
        Self::with(address, false)
    }

    /// One that lets in only who logged in as alice.
    pub fn closed() -> Self {
        Self::with("127.0.0.1", true)
    }

    /// What `docker login` would have left in its `config.json`.
    pub fn docker_config(&self) -> String {
        let (name, password) = LOGIN;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        serde_json::json!({ "auths": { format!("127.0.0.1:{}", self.port): { "auth": auth } } }).to_string()
    }

    fn with(address: &str, closed: bool) -> Self {
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let address = address.to_owned();
        let mut registry = Self { port, address, directory: TempDir::new().unwrap(), server: None, closed };
        registry.begin();
        registry
    }

    /// Up again after [`Self::end`], with what it had.
    pub fn begin(&mut self) {
        let config = self.directory.path().join("config.yml");
        let data = self.directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: \"{}:{}\" }}\n",
            data.display(),
            self.address,
            self.port
        );
        let htpasswd = self.directory.path().join("htpasswd");
        fs::write(&htpasswd, HTPASSWD).unwrap();
        let login = format!("auth:\n  htpasswd: {{ realm: test, path: {} }}\n", htpasswd.display());
        fs::write(&config, if self.closed { text + &login } else { text }).unwrap();
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need Debian's package docker-registry");
        self.server = Some(server);
        while TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            super::look_again_soon();
        }
    }

    /// Nobody answers any more.
    pub fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// How an image of it is called.
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}
