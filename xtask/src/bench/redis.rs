//! A Redis primary and its replica, to measure beside: the same number of values, of the same
//! size, at the same rate. How far the replica is, it says itself by its own offset; what it
//! acknowledges is told once a second and says nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tandem_tests::harness::ports::Port;
use tandem_tests::harness::{Log, Process, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

use super::live::FIXED_RATE;
use crate::outcome::{Failure, Outcome};
use crate::spread::Spread;
use crate::steps;

/// Commands that are sent at once.
const BATCH: u64 = 500;
/// Batches under way in a window of the greatest rate.
const CONNECTIONS: usize = 4;
/// Both must have started, and the replica have copied, within this time.
const READY_MAX: Duration = Duration::from_secs(15);
/// The answer of a SET.
const OK: &[u8] = b"+OK\r\n";

/// Both servers; they end with this.
pub(super) struct Redis {
    primary: Server,
    replica: Server,
}

struct Server {
    port: Port,
    _process: Process,
}

impl Redis {
    /// Starts both; `None`, said to the reader: Redis is not on this machine.
    pub(super) async fn start(folder: &Path) -> Outcome<Option<Redis>> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            steps::say(
                "no redis-server here, so nothing to compare with \
                 (Debian and Ubuntu: `sudo apt-get install redis-server`)",
            );
            return Ok(None);
        }
        let primary = Server::start(folder, "primary", None)?;
        until("the primary answers", READY_MAX, async || primary.info().await).await?;
        let replica = Server::start(folder, "replica", Some(primary.port.number()))?;
        until("the replica follows", READY_MAX, async || {
            let info = replica.info().await?;
            let up = info.contains("master_link_status:up");
            if up { Ok(()) } else { Err(info) }
        })
        .await?;
        Ok(Some(Redis { primary, replica }))
    }

    /// Values a second that reach the replica, as many as there can be.
    pub(super) async fn most(&self, windows: u32) -> Outcome<Spread> {
        let mut rates = Vec::new();
        for _ in 0..windows {
            let began = Instant::now();
            let end = began + Duration::from_secs(1);
            let sending = (0..CONNECTIONS).map(|n| self.sends_until(n, end));
            let sent: u64 = join(sending.collect()).await?.into_iter().sum();
            self.replica_has_all().await?;
            #[expect(clippy::cast_precision_loss, reason = "a second's values: below 2^52")]
            rates.push(sent as f64 / began.elapsed().as_secs_f64());
        }
        Ok(Spread::of(rates))
    }

    fn sends_until(&self, n: usize, end: Instant) -> tokio::task::JoinHandle<std::io::Result<u64>> {
        let port = self.primary.port.number();
        tokio::spawn(async move {
            let mut stream = connect(port).await?;
            let mut sent = 0;
            while Instant::now() < end {
                set(&mut stream, n, sent).await?;
                sent += BATCH;
            }
            Ok(sent)
        })
    }

    /// How far the replica is behind at the fixed rate, in milliseconds.
    pub(super) async fn lag(&self, seconds: u32) -> Outcome<Spread> {
        let port = self.primary.port.number();
        let end = Instant::now() + Duration::from_secs(u64::from(seconds));
        let sending: tokio::task::JoinHandle<std::io::Result<u64>> = tokio::spawn(async move {
            let mut stream = connect(port).await?;
            let gap = Duration::from_secs(1) * u32::try_from(BATCH).unwrap_or(1)
                / u32::try_from(FIXED_RATE).unwrap_or(1);
            let mut ticks = tokio::time::interval(gap);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = 0;
            while Instant::now() < end {
                ticks.tick().await;
                set(&mut stream, 0, sent).await?;
                sent += BATCH;
            }
            Ok(sent)
        });
        let lags = self.lags(end).await.map_err(Failure::io("ask Redis"))?;
        join(vec![sending]).await?;
        Ok(Spread::of(lags))
    }

    async fn lags(&self, end: Instant) -> std::io::Result<Vec<f64>> {
        let mut primary = connect(self.primary.port.number()).await?;
        let mut replica = connect(self.replica.port.number()).await?;
        let mut lags = Vec::new();
        while Instant::now() < end {
            let there = offset(&info(&mut primary).await?);
            let since = Instant::now();
            while offset(&info(&mut replica).await?) < there {}
            lags.push(since.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(lags)
    }

    async fn replica_has_all(&self) -> Outcome {
        let there = offset(&self.primary.info().await.map_err(Failure::Verdict)?);
        until("the replica has all", READY_MAX, async || {
            let here = offset(&self.replica.info().await?);
            if here >= there { Ok(()) } else { Err(format!("{here} of {there}")) }
        })
        .await
        .map_err(Failure::from)
    }
}

impl Server {
    fn start(folder: &Path, name: &str, of: Option<u16>) -> Outcome<Server> {
        let port = Port::reserve()?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--repl-diskless-sync-delay", "0", "--dir"]).arg(folder);
        command.arg("--port").arg(port.number().to_string());
        if let Some(primary) = of {
            command.args(["--replicaof", "127.0.0.1"]).arg(primary.to_string());
        }
        let log = Log::to_file(&folder.join(format!("{name}.log")));
        let process = Process::start(name, command, &log)?;
        Ok(Server { port, _process: process })
    }

    async fn info(&self) -> Result<String, String> {
        let mut stream = connect(self.port.number()).await.map_err(|e| e.to_string())?;
        info(&mut stream).await.map_err(|e| e.to_string())
    }
}

async fn join(tasks: Vec<tokio::task::JoinHandle<std::io::Result<u64>>>) -> Outcome<Vec<u64>> {
    let mut counts = Vec::new();
    for task in tasks {
        let done = task.await.map_err(std::io::Error::other).and_then(|done| done);
        counts.push(done.map_err(Failure::io("write to Redis"))?);
    }
    Ok(counts)
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One batch of values, as long as a tag's path and a number, and the answers to it.
async fn set(stream: &mut TcpStream, who: usize, from: u64) -> std::io::Result<()> {
    let mut text = String::new();
    for n in 0..BATCH {
        let (key, value) = (format!("Bench/{who}/{n:06}"), format!("{:016}", from + n));
        text += &format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$16\r\n{value}\r\n", key.len());
    }
    stream.write_all(text.as_bytes()).await?;
    let mut answers = vec![0; OK.len() * usize::try_from(BATCH).unwrap_or(0)];
    stream.read_exact(&mut answers).await?;
    if answers.chunks(OK.len()).all(|answer| answer == OK) {
        return Ok(());
    }
    Err(std::io::Error::other("Redis refuses a SET"))
}

/// `INFO replication`.
async fn info(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"INFO replication\r\n").await?;
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::Error::other("Redis has gone"));
        }
        text.extend_from_slice(piece.get(..read).unwrap_or_default());
        let said = String::from_utf8_lossy(&text);
        if said.starts_with('-') {
            return Err(std::io::Error::other(said.trim().to_owned()));
        }
        let Some((length, body)) = said.strip_prefix('$').and_then(|s| s.split_once("\r\n")) else {
            continue;
        };
        if body.len() >= length.parse().unwrap_or(usize::MAX - 2) + 2 {
            return Ok(body.to_owned());
        }
    }
}

/// How much of the stream of changes a server has, in bytes.
fn offset(info: &str) -> u64 {
    let of = |name: &str| {
        info.lines().find_map(|line| line.trim().strip_prefix(name)?.parse::<u64>().ok())
    };
    of("slave_repl_offset:").or_else(|| of("master_repl_offset:")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::offset;

    #[test]
    fn a_replica_says_its_own_offset() {
        assert_eq!(offset("role:master\r\nmaster_repl_offset:17\r\n"), 17);
        assert_eq!(offset("slave_repl_offset:5\r\nmaster_repl_offset:17\r\n"), 5);
    }
}
