//! The reverse proxy as a process.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::log::Log;
use super::node::{READY_MAX, entered};
use super::process::Process;
use super::project::write;
use super::{Error, Result, binary, web};

/// How a proxy is started.
#[derive(Debug, Clone)]
pub struct ProxySpec {
    /// Its port.
    pub http: u16,
    /// The base URLs of the nodes.
    pub nodes: Vec<String>,
    /// The folder that holds its options file and log.
    pub folder: PathBuf,
    /// More lines for the options file.
    pub more: String,
    /// The address that it binds.
    pub bind: IpAddr,
    /// What stands before its command: the way into a [`super::Host`].
    pub entry: Vec<String>,
}

/// A running proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    process: Arc<Process>,
    log: Log,
    base: String,
}

impl Proxy {
    /// Starts a proxy and waits until it has bound its port.
    ///
    /// # Errors
    /// The binary is missing, or it did not become ready.
    pub async fn start(spec: &ProxySpec) -> Result<Proxy> {
        let folder = &spec.folder;
        std::fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let log = Log::to_file(&folder.join("log.txt"));
        let file = folder.join("proxy.toml");
        let text = format!(
            "bind = \"{}\"\nhttp = {}\nnodes = {:?}\nfollow_parent = true\n\
             log = \"json\"\n{}",
            spec.bind, spec.http, spec.nodes, spec.more
        );
        write(&file, &text)?;
        let mut command = entered(&spec.entry, binary("tandem-proxy")?);
        command.arg("run").arg("--config").arg(&file);
        let process = Process::start("proxy", command, &log)?;
        process.says("ready proxy=", READY_MAX).await?;
        let base = format!("http://{}:{}", spec.bind, spec.http);
        Ok(Proxy { process: Arc::new(process), log, base })
    }

    /// Its base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What it said.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The answer to `GET path` through it.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<web::Reply> {
        web::get(&self.base, path).await
    }
}
