//! The steps, one after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use client::{Check, Client, Service, Status};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::ask;
use super::service::LEASE;
use super::show::Show;
use crate::config::Config;
use crate::server::{Running, Server};

/// Longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// A service's process.
struct Process {
    child: Child,
    pid: u32,
    port: u16,
}

/// Tells the story from beginning to end; whatever was started is ended with it.
pub(super) async fn tell(show: &mut Show) -> anyhow::Result<()> {
    let node = show.step("start a node in memory, on free ports of loopback", Box::pin(start_node())).await?;
    let (api, dns) = (first(&node.addresses().http)?, first(&node.addresses().dns)?);
    let (tcp_proxy, http_proxy) = (first(&node.addresses().tcp_proxy)?, first(&node.addresses().http_proxy)?);
    let client = Client::new(api.into());

    let mut all =
        show.step("start three services, four processes, and register them", start_all(&client)).await?;
    show.step("ask DNS for the names", names(dns, &all)).await?;
    let virtual_address = show.step("connect to echo by its virtual address", by_address(&client)).await?;
    show.step("connect to echo through the TCP proxy, by name", by_first_line(tcp_proxy)).await?;
    show.step("send HTTP requests to web through the HTTP proxy", balanced(http_proxy)).await?;
    let killed = all.remove("web-1").context("web-1 is running")?;
    show.step("kill web-1 and go on sending requests", survived(http_proxy, dns, killed)).await?;
    let killed = all.remove("lamp").context("lamp is running")?;
    show.step("kill lamp, which only has a lease, and wait", expired(dns, killed)).await?;
    show.step("stop everything", stop(node, all, virtual_address)).await
}

fn first(addresses: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    addresses.first().copied().context("the node listens")
}

async fn start_node() -> anyhow::Result<(Running, String)> {
    let begun = Instant::now();
    let mut config = Config::default();
    config.health.sweep_interval = Duration::from_millis(200);
    let node = Box::pin(Server::in_memory().config(config).ephemeral_ports().start()).await?;
    let took = begun.elapsed().as_millis();
    let listeners: Vec<_> =
        node.addresses().iter().map(|(what, address)| format!("{what:<11} {address}")).collect();
    let seen = format!("node \"{}\" answered after {took} ms:\n{}", node.name(), listeners.join("\n"));
    Ok((node, seen))
}

async fn start_all(client: &Client) -> anyhow::Result<(BTreeMap<&'static str, Process>, String)> {
    let mut all = BTreeMap::new();
    for name in ["web-1", "web-2"] {
        let process = spawn(&["web", name]).await?;
        let url = format!("http://127.0.0.1:{}/", process.port);
        let check = Check::http(&url).interval(Duration::from_millis(200)).timeout(Duration::from_secs(1));
        register(client, "web", name, process.port, check).await?;
        all.insert(name, process);
    }
    let process = spawn(&["echo", "echo"]).await?;
    let check = Check::tcp(SocketAddr::from(([127, 0, 0, 1], process.port)));
    register(client, "echo", "echo", process.port, check.interval(Duration::from_millis(200))).await?;
    all.insert("echo", process);
    // This one registers itself, and renews its lease for as long as it lives.
    let api = client.address().to_string();
    all.insert("lamp", spawn(&["echo", "lamp", "--lease-at", &api]).await?);
    for (service, count) in [("web", 2), ("echo", 1), ("lamp", 1)] {
        let is_passing = |instance: &client::Instance| instance.status == Status::Passing;
        eventually(&format!("{service} to pass its checks"), async || {
            let instances = client.instances(service).await?;
            Ok((instances.iter().filter(|instance| is_passing(instance)).count() == count).then_some(()))
        })
        .await?;
    }
    let processes: Vec<_> =
        all.iter().map(|(name, p)| format!("{name} (pid {}, port {})", p.pid, p.port)).collect();
    Ok((all, format!("all pass their checks: {}", processes.join(", "))))
}

async fn spawn(arguments: &[&str]) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .arg("demo-service")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start a service")?;
    let pid = child.id().context("the service has ended already")?;
    let stdout = child.stdout.take().context("read what the service says")?;
    let mut lines = BufReader::new(stdout).lines();
    let said =
        tokio::time::timeout(PATIENCE, lines.next_line()).await.context("the service does not start")?;
    let port = said?.and_then(|line| line.parse().ok()).context("the service ended before it listened")?;
    Ok(Process { child, pid, port })
}

async fn register(client: &Client, service: &str, id: &str, port: u16, check: Check) -> anyhow::Result<()> {
    let service = Service::new(service).id(id).port(port).check(check).without_lease();
    Ok(service.register_once(client).await?)
}

async fn names(dns: SocketAddr, all: &BTreeMap<&str, Process>) -> anyhow::Result<((), String)> {
    // DNS reads a projection of the catalog, which is a moment behind.
    let found = eventually("web.svc.internal", async || {
        Ok(ask::addresses(dns, "web.svc.internal").await?.filter(|found| !found.is_empty()))
    })
    .await?;
    let mut expected: Vec<_> =
        ["web-1", "web-2"].iter().filter_map(|name| Some(all.get(name)?.port)).collect();
    expected.sort_unstable();
    let ports = eventually("both ports of web", async || {
        Ok(Some(ask::ports(dns, "web.service.consul").await?).filter(|ports| *ports == expected))
    })
    .await?;
    let addresses: Vec<_> = found.iter().map(ToString::to_string).collect();
    let seen = format!(
        "web.svc.internal    A    {}\nweb.service.consul  SRV  ports {ports:?}",
        addresses.join(", ")
    );
    Ok(((), seen))
}

async fn by_address(client: &Client) -> anyhow::Result<(SocketAddr, String)> {
    let found = client.virtual_address("echo").await?;
    let address = found.context("echo has no virtual address on this host")?;
    let heard = ask::exchange(address, b"hello").await?;
    ensure!(heard == "hello, says echo", "heard \"{heard}\"");
    Ok((address, format!("{address} answered \"{heard}\"")))
}

async fn by_first_line(proxy: SocketAddr) -> anyhow::Result<((), String)> {
    let heard = ask::exchange(proxy, b"echo\nhello").await?;
    ensure!(heard == "hello, says echo", "heard \"{heard}\"");
    Ok(((), format!("sent \"echo\" and a newline to {proxy}; it answered \"{heard}\"")))
}

/// Who answered how often.
async fn requests(proxy: SocketAddr, count: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers.entry(ask::http(proxy, "web.svc.internal").await?).or_default() += 1;
    }
    Ok(answers)
}

fn counted(answers: &BTreeMap<String, usize>) -> String {
    answers.iter().map(|(answer, count)| format!("{count} × \"{answer}\"")).collect::<Vec<_>>().join(", ")
}

async fn balanced(proxy: SocketAddr) -> anyhow::Result<((), String)> {
    let answers = requests(proxy, 40).await?;
    ensure!(answers.len() == 2, "only some instances answered: {}", counted(&answers));
    Ok(((), format!("Host: web.svc.internal at {proxy}: {}", counted(&answers))))
}

async fn survived(proxy: SocketAddr, dns: SocketAddr, mut killed: Process) -> anyhow::Result<((), String)> {
    killed.child.kill().await.context("kill web-1")?;
    let begun = Instant::now();
    let answers = requests(proxy, 40).await.context("a request failed after the kill")?;
    if answers.keys().any(|answer| answer.contains("web-1")) {
        bail!("the dead answered: {}", counted(&answers));
    }
    eventually("DNS to leave web-1 out", async || {
        let ports = ask::ports(dns, "web.service.consul").await?;
        Ok((ports.len() == 1 && !ports.contains(&killed.port)).then_some(()))
    })
    .await?;
    let took = begun.elapsed().as_millis();
    let seen = format!(
        "pid {} is gone, and no request failed: {}\nDNS left it out after {took} ms",
        killed.pid,
        counted(&answers)
    );
    Ok(((), seen))
}

async fn expired(dns: SocketAddr, mut killed: Process) -> anyhow::Result<((), String)> {
    let name = "lamp.svc.internal";
    ensure!(ask::addresses(dns, name).await?.is_some(), "{name} was not there before");
    killed.child.kill().await.context("kill lamp")?;
    let begun = Instant::now();
    eventually("the name to vanish", async || Ok(ask::addresses(dns, name).await?.is_none().then_some(())))
        .await?;
    let took = begun.elapsed().as_secs_f32();
    Ok(((), format!("{name} was gone {took:.1} s later: its lease is {LEASE:?}, and nobody renewed it")))
}

async fn stop(
    node: Running,
    all: BTreeMap<&'static str, Process>,
    virtual_address: SocketAddr,
) -> anyhow::Result<((), String)> {
    let left = all.len();
    for (name, mut process) in all {
        process.child.kill().await.with_context(|| format!("kill {name}"))?;
    }
    node.shutdown().await?;
    let refused = ask::exchange(virtual_address, b"").await.is_err();
    ensure!(refused, "{virtual_address} still answers");
    Ok(((), format!("{left} processes ended, the node drained, {virtual_address} is closed")))
}

/// Looks again and again until there is something, for a bounded time.
async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < until, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
