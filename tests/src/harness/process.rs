//! One process: started from a thread that lives as long as we do, signalled by its pid only,
//! gone when it is dropped.
//!
//! A parent-death signal fires when the *thread* that spawned the child ends, so all children are
//! spawned by one thread that never ends before the process does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::log::Log;
use super::wait::until;
use super::{Error, Result};

/// A stop signal has reached every thread by then.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A running (or ended) child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: Log,
    mark: usize,
}

impl Process {
    /// Starts a command; what it says goes to `log`.
    ///
    /// # Errors
    /// The system refused.
    pub fn start(name: &str, mut command: Command, log: &Log) -> Result<Process> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is ours to act on, not the children's.
        command.process_group(0);
        let mark = log.mark();
        let mut child = spawn(command).map_err(Error::io(format!("start {name}")))?;
        if let Some(pipe) = child.stdout.take() {
            log.follow(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            log.follow(pipe);
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::NotRunning(name.to_owned()))?;
        let child = Mutex::new(child);
        Ok(Process { name: name.to_owned(), pid, child, log: log.clone(), mark })
    }

    /// Waits for a line of this run that contains `text`, and gives it.
    ///
    /// # Errors
    /// The process ended, or the deadline came first.
    pub async fn says(&self, text: &str, deadline: Duration) -> Result<String> {
        let what = format!("{} says \"{text}\"", self.name);
        let found = until(&what, deadline, async || {
            // The end is looked at first: a last line may still arrive after it.
            let ended = self.ended();
            let lines = self.log.since(self.mark);
            match (lines.into_iter().find(|line| line.contains(text)), ended) {
                (Some(line), _) => Ok(Ok(line)),
                (None, Some(status)) => Ok(Err(status)),
                (None, None) => Err("no such line"),
            }
        });
        match found.await? {
            Ok(line) => Ok(line),
            Err(status) => Err(Error::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                log: self.log.tail(30),
            }),
        }
    }

    /// How the process ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// The deadline came first.
    pub async fn ends(&self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        until(&what, deadline, async || self.ended().ok_or("it runs")).await
    }

    /// Its lines so far, from this run only.
    pub fn lines(&self) -> Vec<String> {
        self.log.since(self.mark)
    }

    /// SIGKILL: gone at once, nothing said.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self) -> Result {
        self.signal(Signal::KILL)
    }

    /// SIGSTOP: TCP stays up, nothing runs. Returns when every thread stands still.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self) -> Result {
        self.signal(Signal::STOP)?;
        let end = std::time::Instant::now() + STOP_MAX;
        while !self.stands_still() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether all threads are stopped; true where the system does not tell.
    fn stands_still(&self) -> bool {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return true;
        };
        tasks.flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
        })
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self) -> Result {
        self.signal(Signal::CONT)
    }

    /// SIGTERM: a planned stop.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate(&self) -> Result {
        self.signal(Signal::TERM)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn signal(&self, signal: Signal) -> Result {
        // Not after it was reaped: the pid could be another process by then.
        if self.ended().is_some() {
            return Err(Error::NotRunning(self.name.clone()));
        }
        let what = format!("send {signal:?} to {}", self.name);
        kill_process(self.pid, signal).map_err(|e| Error::io(what)(e.into()))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = sync_channel::<Job>(16);
        std::thread::spawn(move || {
            for mut job in queue {
                let _ = job.reply.send(job.command.spawn());
            }
        });
        jobs
    });
    let gone = || io::Error::other("the spawning thread is gone");
    let (reply, answer) = sync_channel(1);
    spawner.send(Job { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
