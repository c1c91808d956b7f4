//! Three of our servers, made one cluster the way an operator does it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::until;
use tempfile::TempDir;

use super::{Kind, LIMIT, Recipe, Server, Trio, loopback};
use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::subject::ask;
use crate::subject::portolan::is_ready;

/// Where programs ask its broker, in a server's folder.
pub(super) const BROKER: &str = "broker.sock";

pub(super) fn start(folder: TempDir, context: &Context, cores: &Cores) -> Result<Trio> {
    let (mut servers, mut operator) = (Vec::new(), None);
    for at in 0..3 {
        servers.push(node(folder.path(), at, context, cores)?);
        if at == 0 {
            operator = Some(init(&servers[0].recipe)?);
        } else {
            let token = cli(&servers[0].recipe, &["token", "create"])?;
            cli(&servers[at].recipe, &["join", token.trim()])?;
        }
    }
    let voters = || (servers.iter().all(|server| voters(server.address) == Some(3))).then_some(());
    until(LIMIT, "three voters", voters).map_err(|timeout| anyhow!("{timeout}"))?;
    Ok(Trio { kind: Kind::Portolan, token: operator, servers, folder })
}

/// A node of its own, which serves.
fn node(folder: &Path, at: usize, context: &Context, cores: &Cores) -> Result<Server> {
    let home = folder.join(format!("n{at}"));
    std::fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
    let address = loopback()?;
    let settings = settings(at, &home, address, loopback()?);
    std::fs::write(home.join("portolan.toml"), settings).context("write a configuration")?;
    let recipe = recipe(&context.portolan, &home);
    let process = Some(recipe.start(cores)?);
    until(LIMIT, "portolan to be ready", || is_ready(address).then_some(()))
        .map_err(|timeout| anyhow!("{timeout}"))?;
    Ok(Server { address, recipe, process })
}

/// A node that is not a member yet; gone with the value.
pub(crate) struct Newcomer {
    server: Server,
    token: String,
}

impl Newcomer {
    /// Number 3 is the first beside the three servers.
    pub(crate) fn start(trio: &Trio, at: usize, context: &Context, cores: &Cores) -> Result<Newcomer> {
        let token = cli(&trio.servers[0].recipe, &["token", "create", "--agent"])?;
        let server = node(trio.folder.path(), at, context, cores)?;
        Ok(Newcomer { server, token: token.trim().to_owned() })
    }

    /// Becomes an agent of the cluster. Returns when it is one and has applied what is decided up to `index`; how
    /// long that took.
    pub(crate) fn join(&self, index: u64) -> Result<Duration> {
        let begin = Instant::now();
        let mut joining =
            command(&self.server.recipe, &["join", &self.token]).spawn().context("run portolan")?;
        let there = || (applied(self.address())? >= index).then(|| begin.elapsed());
        let took = until(LIMIT, "an agent to know everything", there).map_err(|timeout| anyhow!("{timeout}"));
        let joined = joining.wait().context("wait for portolan join")?;
        ensure!(joined.success(), "portolan join ended with {joined}");
        took
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }
}

/// The operator's token.
fn init(recipe: &Recipe) -> Result<String> {
    let begun: serde_json::Value =
        serde_json::from_str(&cli(recipe, &["init", "--output", "json"])?).context("read what init says")?;
    let file = begun["OperatorTokenFile"].as_str().context("init names no file with a token")?;
    let token = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(token.trim().to_owned())
}

/// Defaults but for the addresses.
fn settings(at: usize, home: &Path, api: SocketAddr, mesh: SocketAddr) -> String {
    let broker = home.join(BROKER);
    let broker = broker.display();
    format!(
        "node.name = \"n{at}\"\nnode.address = \"127.0.0.1\"\napi.listen = [\"{api}\"]\ndns.listen = [\"127.0.0.1:0\"]\n\
         proxy.named = [\"127.0.0.1:0\"]\nproxy.http.listen = [\"127.0.0.1:0\"]\nmesh.listen = \"{mesh}\"\n\
         broker.socket = \"{broker}\"\n"
    )
}

fn recipe(program: &Path, home: &Path) -> Recipe {
    let arguments = vec!["serve".into(), "--config".into(), home.join("portolan.toml").into_os_string()];
    let environment =
        vec![("PORTOLAN_NODE__DATA_DIR", home.join("data").into_os_string()), ("RUST_LOG", "warn".into())];
    Recipe { program: program.to_owned(), arguments, environment }
}

/// The command line, which finds the daemon of a data directory by its Unix socket.
pub(super) fn cli(recipe: &Recipe, arguments: &[&str]) -> Result<String> {
    let output = command(recipe, arguments).output().context("run portolan")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "portolan {}: {said}", arguments.first().unwrap_or(&""));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command(recipe: &Recipe, arguments: &[&str]) -> Command {
    let mut command = Command::new(&recipe.program);
    command.args(arguments).envs(recipe.environment.iter().map(|(name, value)| (name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn status(api: SocketAddr) -> Option<serde_json::Value> {
    ask::json(api, Duration::from_secs(1), "GET", "/v1/portolan/status", "")
}

/// The servers are called n0, n1 and n2.
pub(super) fn leader(api: SocketAddr) -> Option<usize> {
    status(api)?["Own"]["Leader"].as_str()?.strip_prefix('n')?.parse().ok()
}

/// Index of the last command that it has applied as a member.
pub(super) fn applied(api: SocketAddr) -> Option<u64> {
    let own = &status(api)?["Own"];
    (own["Role"] != "alone").then(|| own["AppliedIndex"].as_u64())?
}

fn voters(api: SocketAddr) -> Option<usize> {
    Some(status(api)?["Own"]["Voters"].as_array()?.len())
}
