//! A host of its own for a process: namespaces for the network and for mounts, held by a process
//! that ends with us, so that nothing is left behind, however a test ends.
//!
//! Needs root, and of a machine only what each Linux has (`unshare`, `nsenter`, `setpriv`, `mount`)
//! and `ip` where hosts are joined, see [`super::netns`].

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::log::Log;
use super::process::Process;
use super::wait::until;
use super::{Error, Result};

/// A holder stands in its namespaces by then.
const HOLDS_MAX: Duration = Duration::from_secs(5);
/// The size of the disk that [`Host::small_disk`] gives.
pub const DISK_MB: u64 = 12;

/// A host: processes started within it see its network, its mounts and its names.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    holder: Arc<Process>,
    network: bool,
}

impl Host {
    /// A host with mounts of its own and the network of the machine.
    ///
    /// # Errors
    /// Not root, or the system refused.
    pub async fn with_own_mounts(name: &str) -> Result<Host> {
        Host::start(name, false).await
    }

    /// A host that also has a network of its own: nothing but a loopback.
    ///
    /// # Errors
    /// Not root, or the system refused.
    pub async fn with_own_network(name: &str) -> Result<Host> {
        let host = Host::start(name, true).await?;
        host.ip("link set lo up\n")?;
        Ok(host)
    }

    async fn start(name: &str, network: bool) -> Result<Host> {
        // `setpriv`, so that the holder ends with us even when we are killed; each of the three
        // becomes the next one, so that the process id stays.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount"]);
        if network {
            command.arg("--net");
        }
        command.args(["sh", "-c", "echo holds; exec sleep infinity"]);
        let log = Log::default();
        let holder = Process::start(&format!("the host {name}"), command, &log)?;
        let holds = until("it holds", HOLDS_MAX, async || {
            let ended = holder.ended();
            if log.says("holds") { Ok(()) } else { Err((ended, log.tail(5))) }
        });
        if let Err(why) = holds.await {
            return Err(Error::wire(
                format!("make the host {name}"),
                format!("{why}: namespaces need root and util-linux; run this as root"),
            ));
        }
        Ok(Host { name: name.to_owned(), holder: Arc::new(holder), network })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands before a command that is to run on this host. The process id is the command's.
    pub fn entry(&self) -> Vec<String> {
        let mut entry = vec!["nsenter".to_owned(), "--target".to_owned(), self.pid()];
        if self.network {
            entry.push("--net".to_owned());
        }
        entry.extend(["--mount".to_owned(), "--".to_owned()]);
        entry
    }

    /// Where the machine sees a path of this host.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let inner = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(inner)
    }

    /// Runs a command on this host to its end.
    ///
    /// # Errors
    /// It failed; the text has what it said.
    pub fn run(&self, program: &str, args: &[&str], input: &str) -> Result {
        let entry = self.entry();
        let mut command = Command::new(entry.first().map_or("nsenter", String::as_str));
        command.args(entry.get(1..).unwrap_or_default()).arg(program).args(args);
        run(command, &format!("{program} {} on {}", args.join(" "), self.name), input)
    }

    /// Runs lines of `ip` on this host.
    ///
    /// # Errors
    /// One failed.
    pub fn ip(&self, lines: &str) -> Result {
        self.run("ip", &["-batch", "-"], lines)
    }

    /// Does something, such as opening a socket, in this host's network: what was opened there
    /// stays there, whoever uses it.
    ///
    /// # Errors
    /// What was done failed, or the host has ended.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send,
    ) -> std::io::Result<T> {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.pid()))?;
        // A thread of its own, which ends there.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the work panicked")))
        })
    }

    /// Puts a small disk ([`DISK_MB`]) of its own at a folder, seen by this host only.
    ///
    /// # Errors
    /// The system refused.
    pub fn small_disk(&self, folder: &Path) -> Result<SmallDisk> {
        std::fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let (size, at) = (format!("size={DISK_MB}m"), folder.display().to_string());
        self.run("mount", &["-t", "tmpfs", "-o", &size, "tandem", &at], "")?;
        Ok(SmallDisk { folder: self.outside(folder) })
    }

    /// Gives this host names of its own in place of `/etc/hosts`, and no other way to find any.
    ///
    /// # Errors
    /// The system refused.
    pub fn own_names(&self, folder: &Path) -> Result<Names> {
        let file = |what: &str| folder.join(format!("{what}-{}", self.name));
        let names = Names { file: file("hosts"), server: file("resolv") };
        names.are("")?;
        // Nobody answers there, and says so at once.
        names.server_is(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        for (file, over) in [(&names.file, "/etc/hosts"), (&names.server, "/etc/resolv.conf")] {
            self.run("mount", &["--bind", &file.display().to_string(), over], "")?;
        }
        Ok(names)
    }

    pub(super) fn pid(&self) -> String {
        self.holder.pid().to_string()
    }
}

/// Runs a command with this input to its end.
pub(super) fn run(mut command: Command, what: &str, input: &str) -> Result {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io(what))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).map_err(Error::io(what))?;
    }
    let output = child.wait_with_output().map_err(Error::io(what))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::wire(what, format!("{} {said} (needs root)", output.status)))
}

/// A disk that can be full.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Fills all that is free.
    ///
    /// # Errors
    /// The ballast cannot be made.
    pub fn fill(&self) -> Result {
        let path = self.ballast();
        let what = || format!("write {}", path.display());
        let mut file = std::fs::File::create(&path).map_err(Error::io(what()))?;
        let piece = [0; 4096];
        loop {
            match file.write(&piece) {
                Ok(written) if written > 0 => {}
                Err(e) if e.kind() != std::io::ErrorKind::StorageFull => {
                    return Err(Error::io(what())(e));
                }
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// Frees what was filled.
    ///
    /// # Errors
    /// There is no ballast.
    pub fn free(&self) -> Result {
        let path = self.ballast();
        std::fs::remove_file(&path).map_err(Error::io(format!("remove {}", path.display())))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

/// The names that a host knows.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
    server: PathBuf,
}

impl Names {
    /// Sets all names, in the form of `/etc/hosts`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn are(&self, text: &str) -> Result {
        // In place: the host sees this very file.
        super::project::write(&self.file, &format!("127.0.0.1 localhost\n{text}"))
    }

    /// Sets the name server that is asked for names which are not among those.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn server_is(&self, address: IpAddr) -> Result {
        super::project::write(&self.server, &format!("nameserver {address}\n"))
    }
}
