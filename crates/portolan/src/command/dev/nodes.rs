//! `portolan dev --nodes N`: a whole cluster on this host, each node a process of its own, so that killing one is real.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use client::{Address, Client};
use consul::own::Member;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::cli::Global;
use crate::config::{Config, Sources};
use crate::exit::Result;
use crate::listeners::avoid_taken;
use crate::signals::{Signals, Word};

/// More would prove nothing, and take a small machine's memory.
pub(super) const MOST: usize = 9;
/// How long the nodes may take to become one cluster.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long they may take to end when they are asked to.
const FAREWELL: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// Runs until Ctrl-C or the end of standard input. Whatever nodes are left then end with it.
pub(super) async fn run(count: usize, sources: Sources, global: &Global) -> Result {
    let mut signals = Signals::listen()?;
    let folder = tempfolder()?;
    let mut deaths = Deaths::new();
    let ended = tokio::select! {
        ended = live(count, &sources, (&folder, &mut deaths), global) => ended,
        word = leave(&mut signals) => {
            global.out().say(&format!("{word}: the nodes are stopped\n"))?;
            Ok(())
        }
    };
    // Each child ends with the task that holds it.
    deaths.shutdown().await;
    let removed = std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()));
    Ok(ended.and(removed)?)
}

/// What ends it.
async fn leave(signals: &mut Signals) -> &'static str {
    let input = async {
        let mut input = tokio::io::stdin();
        let mut bytes = [0; 256];
        while matches!(input.read(&mut bytes).await, Ok(1..)) {}
    };
    let signal = async {
        loop {
            if let Word::Leave(signal) = signals.next().await {
                return signal;
            }
        }
    };
    tokio::select! {
        () = input => "end of input",
        signal = signal => signal,
    }
}

fn tempfolder() -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("portolan-dev-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Waits for each child; how it ended.
type Deaths = JoinSet<(String, std::io::Result<ExitStatus>)>;

/// Starts them, makes them one cluster, tells about it, and says who dies.
async fn live(
    count: usize,
    sources: &Sources,
    (folder, deaths): (&Path, &mut Deaths),
    global: &Global,
) -> anyhow::Result<()> {
    let nodes =
        (1..=count).map(|number| Node::plan(number, sources, folder)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut pids = Vec::new();
    for node in &nodes {
        let mut child = node.start()?;
        pids.push(child.id().unwrap_or_default());
        let name = node.name.clone();
        deaths.spawn(async move { (name, Kept(&mut child).wait().await) });
    }
    let formed = tokio::time::timeout(PATIENCE, form(&nodes));
    tokio::select! {
        formed = formed => formed.map_err(|_| anyhow!("no cluster after {PATIENCE:?}")).and_then(|done| done)?,
        Some(Ok((name, status))) = deaths.join_next() => {
            bail!("{name} ended too early ({}); see {}", shown(&status), folder.join(format!("{name}.log")).display())
        }
    }
    global.out().say(&banner(&nodes, &pids, folder))?;
    while let Some(Ok((name, status))) = deaths.join_next().await {
        let again = nodes.iter().find(|node| node.name == name).map(Node::command_line).unwrap_or_default();
        global
            .out()
            .say(&format!("{name} ended ({}). To start it again:\n\n  {again}\n\n", shown(&status)))?;
    }
    bail!("no node is left")
}

fn shown(status: &std::io::Result<ExitStatus>) -> String {
    status.as_ref().map_or_else(ToString::to_string, ToString::to_string)
}

/// A child that is asked to end, and then made to, when nobody waits for it any more.
struct Kept<'a>(&'a mut Child);

impl Kept<'_> {
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait().await
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let Some(pid) = pid else { return };
        let begun = std::time::Instant::now();
        // It may have ended meanwhile, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
        while begun.elapsed() < FAREWELL {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.start_kill();
    }
}

/// One of the nodes.
struct Node {
    name: String,
    data: PathBuf,
    api: SocketAddr,
    dns: SocketAddr,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Node {
    fn plan(number: usize, sources: &Sources, folder: &Path) -> anyhow::Result<Node> {
        let name = format!("n{number}");
        let mut addresses = Config::default();
        avoid_taken(&mut addresses);
        let is_first = number == 1;
        let address = |wished: Option<SocketAddr>| match wished.filter(|known| is_first && known.port() != 0)
        {
            Some(known) => Ok(known),
            None => free(),
        };
        let api = address(addresses.api.listen.first().copied())?;
        let dns = address(addresses.dns.listen.first().copied())?;
        let named = address(addresses.proxy.named.first().copied())?;
        let http = address(addresses.proxy.http.listen.first().copied())?;
        let data = folder.join(&name);
        let mut set: Vec<String> =
            sources.flags.iter().map(|flag| format!("{}={}", flag.key, flag.value)).collect();
        set.extend([
            format!("node.name={name}"),
            format!("node.data_dir={}", data.display()),
            format!("api.listen={api}"),
            format!("dns.listen={dns}"),
            format!("proxy.named={named}"),
            format!("proxy.http.listen={http}"),
            format!("mesh.listen={}", free()?),
            "storage.segment_size=8MiB".to_owned(),
        ]);
        if !is_first {
            // Two nodes on one host cannot both hold a service's address.
            set.push("hostnet.max_open=0".to_owned());
        }
        let config = sources.file.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
        let set = set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
        let arguments = std::iter::once("serve".to_owned()).chain(config).chain(set).collect();
        Ok(Node { log: folder.join(format!("{name}.log")), name, data, api, dns, arguments })
    }

    fn start(&self) -> anyhow::Result<Child> {
        let log = std::fs::File::create(&self.log).with_context(|| format!("make {}", self.log.display()))?;
        let mut command = Command::new(own_program()?);
        command.args(&self.arguments).arg("--with-parent").stdin(Stdio::null());
        command.stdout(log.try_clone().context("share a file for output")?).stderr(log).kill_on_drop(true);
        command.spawn().with_context(|| format!("start {}", self.name))
    }

    fn socket(&self) -> PathBuf {
        self.data.join("api.sock")
    }

    fn client(&self) -> Client {
        Client::new(Address::Unix(self.socket()))
    }

    async fn until_it_answers(&self) {
        while self.client().get::<Vec<Member>>("/v1/portolan/members").await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Runs the command line on this node; what it prints.
    async fn say(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(own_program()?);
        command.args(arguments).args(["--api", &self.socket().display().to_string(), "--timeout", "30s"]);
        let output = command.kill_on_drop(true).output().await.context("run portolan")?;
        if !output.status.success() {
            bail!("{} on {}: {}", arguments[0], self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command_line(&self) -> String {
        let quoted = |word: &String| match word.contains([' ', '\'', '"', '$']) {
            true => format!("'{}'", word.replace('\'', "'\\''")),
            false => word.clone(),
        };
        let words: Vec<String> = self.arguments.iter().map(quoted).collect();
        format!("{} {}", super::program(), words.join(" "))
    }
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program")
}

/// A port that nobody had a moment ago.
fn free() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    listener.local_addr().context("look for a free port")
}

/// As an operator does it.
async fn form(nodes: &[Node]) -> anyhow::Result<()> {
    for node in nodes {
        node.until_it_answers().await;
    }
    let Some((first, others)) = nodes.split_first() else { return Ok(()) };
    first.say(&["init"]).await?;
    for other in others {
        let token = first.say(&["token", "create"]).await?;
        other.say(&["join", &token]).await?;
    }
    let wanted = nodes.len().min(Config::default().cluster.voters);
    loop {
        let members = first.client().get::<Vec<Member>>("/v1/portolan/members").await;
        let voters = members.map_or(0, |all| all.value.iter().filter(|member| member.votes).count());
        if voters >= wanted {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn banner(nodes: &[Node], pids: &[u32], folder: &Path) -> String {
    let mut text = format!(
        "portolan {}: {} nodes on this host are one cluster. Everything is in {} and gone when this stops \
         (Ctrl-C, or the end of input)\n\n",
        env!("CARGO_PKG_VERSION"),
        nodes.len(),
        folder.display(),
    );
    for (node, pid) in nodes.iter().zip(pids) {
        let _ = writeln!(
            text,
            "  {}  http://{}  DNS {}  pid {pid}  {}",
            node.name,
            node.api,
            node.dns,
            node.log.display()
        );
    }
    let program = super::program();
    let (Some(first), Some(last), Some(pid)) = (nodes.first(), nodes.last(), pids.first()) else {
        return text;
    };
    let _ = write!(
        text,
        "\nVirtual addresses are bound by {} alone. In another terminal:\n\n  \
         {program} status --api {}\n  \
         {program} register web --port {} --api {}\n  \
         kill -9 {pid}        # {} dies, and the others go on\n\n",
        first.name,
        last.socket().display(),
        first.api.port(),
        last.socket().display(),
        first.name,
    );
    text
}
