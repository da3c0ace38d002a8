//! Debian's docker-registry on a loopback port, for pulls.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Gone with all that it has when it is dropped.
pub struct Registry {
    pub port: u16,
    directory: TempDir,
    server: Option<Child>,
}

impl Registry {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut registry = Self { port, directory: TempDir::new().unwrap(), server: None };
        registry.begin();
        registry
    }

    /// Up again after [`Self::end`], with what it had.
    pub fn begin(&mut self) {
        let config = self.directory.path().join("config.yml");
        let data = self.directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: \"127.0.0.1:{}\" }}\n",
            data.display(),
            self.port
        );
        fs::write(&config, text).unwrap();
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need Debian's package docker-registry");
        self.server = Some(server);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
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
