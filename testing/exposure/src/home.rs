//! The namespaces, the router and the firewalls.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::names;
use crate::router::Router;

/// Address of the host inside.
pub const LAN_CLIENT: &str = "192.168.77.2";
/// Address of the router on the side of the world: one that looks public, which miniupnpd insists on.
pub const WAN_ROUTER: &str = "45.83.0.1";

/// The client's own IPv6 address, which looks public.
pub const CLIENT_V6: &str = "2a0d:db8:77::2";

/// What a fallible step of the lab says; tests only print it.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How the client's host is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A table of nftables that drops what comes in, and no iptables in the path.
    Nft,
    /// iptables with a policy of DROP.
    Iptables,
    /// The same, and nft is there too.
    Both,
}

/// The lab. Everything in it ends with it.
pub struct Home {
    router: Router,
    /// Scratch files; `bin` in it is the path of programs that run inside.
    pub folder: tempfile::TempDir,
    guard: Guard,
    client: String,
    gateway: String,
    wan: String,
}

impl Drop for Home {
    fn drop(&mut self) {
        self.stop_router();
        for name in [&self.client, &self.gateway, &self.wan] {
            drop(Command::new("ip").args(["netns", "del", name]).output());
        }
    }
}

impl Home {
    /// Builds it; the reason for skipping where that is not possible.
    ///
    /// # Errors
    /// A `skipped: …` line.
    pub fn build(guard: Guard) -> Result<Home, String> {
        for tool in ["nft", "miniupnpd", "consul"] {
            peers::tool(tool).map_err(|missing| missing.to_string())?;
        }
        if guard != Guard::Nft {
            peers::tool("iptables-nft").map_err(|missing| missing.to_string())?;
        }
        names::sweep();
        let folder = tempfile::tempdir().map_err(|error| format!("skipped: no scratch folder: {error}"))?;
        let (client, gateway, wan) = (names::unique("c"), names::unique("r"), names::unique("w"));
        let router = Router::new(&gateway, folder.path());
        let home = Home { router, folder, guard, client, gateway, wan };
        home.wire().map_err(|error| format!("skipped: network namespaces cannot be made here: {error}"))?;
        home.guard().map_err(|error| format!("skipped: no firewall can be set up here: {error}"))?;
        home.router
            .start("192.168.77")
            .map_err(|error| format!("skipped: the router cannot run here: {error}"))?;
        Ok(home)
    }

    fn wire(&self) -> Fallible<()> {
        let Home { client, gateway, wan, .. } = self;
        for name in [client, gateway, wan] {
            shell(&format!("ip netns add {name} && ip -n {name} link set lo up"))?;
        }
        shell(&format!(
            "set -e
            ip -n {gateway} link add lan0 type bridge
            ip link add eth0 netns {client} type veth peer name p2 netns {gateway}
            ip -n {gateway} link set p2 master lan0 up
            ip link add eth0 netns {wan} type veth peer name wan0 netns {gateway}
            a() {{ ip -n $1 addr add $3 dev $2 $4; ip -n $1 link set $2 up; }}
            a {client} eth0 {LAN_CLIENT}/24; a {client} eth0 {CLIENT_V6}/64 nodad
            a {gateway} lan0 192.168.77.1/24; a {gateway} lan0 2a0d:db8:77::1/64 nodad
            a {gateway} wan0 {WAN_ROUTER}/24; a {gateway} wan0 2a0d:db8:99::1/64 nodad
            a {wan} eth0 45.83.0.2/24; a {wan} eth0 2a0d:db8:99::2/64 nodad
            ip -n {client} route add default via 192.168.77.1
            ip -n {client} -6 route add default via 2a0d:db8:77::1
            ip -n {wan} -6 route add default via 2a0d:db8:99::1
            ip netns exec {gateway} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'"
        ))?;
        let bin = self.folder.path().join("bin");
        std::fs::create_dir(&bin)?;
        door(&bin, "nft", "nft", self.guard != Guard::Iptables)?;
        for (name, program) in [
            ("iptables", "iptables-nft"),
            ("iptables-restore", "iptables-nft-restore"),
            ("ip6tables", "ip6tables-nft"),
            ("ip6tables-restore", "ip6tables-nft-restore"),
        ] {
            door(&bin, name, program, self.guard != Guard::Nft)?;
        }
        Ok(())
    }

    /// A host that lets nothing in but answers and what is asked on the local network by ICMP.
    fn guard(&self) -> Fallible<()> {
        match self.guard {
            Guard::Nft => self.nft_inside(
                "table inet host {
                    chain input {
                        type filter hook input priority 0; policy drop;
                        iif lo accept
                        ct state established,related accept
                        meta l4proto { icmp, ipv6-icmp } accept
                    }
                }",
            ),
            Guard::Iptables | Guard::Both => {
                for program in ["iptables", "ip6tables"] {
                    for rule in [
                        "-A INPUT -i lo -j ACCEPT",
                        "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT",
                        "-P INPUT DROP",
                    ] {
                        self.inside_said(program, &rule.split(' ').collect::<Vec<_>>())?;
                    }
                }
                self.inside_said("ip6tables", &["-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT"]).map(drop)
            }
        }
    }

    /// Starts the router anew, at another port of its own and, after [`Home::forget_mappings`], with none of
    /// the mappings.
    ///
    /// # Errors
    /// What the program said.
    pub fn restart_router(&self) -> Fallible<()> {
        self.router.restart()
    }

    /// Stops the router and empties its tables, as a power cut does.
    ///
    /// # Errors
    /// What `nft` said.
    pub fn forget_mappings(&self) -> Fallible<()> {
        if let Some(mut router) = self.router.take() {
            router.kill();
        }
        std::fs::write(self.router.leases(), "")?;
        nft(&self.gateway, "flush chain inet filter prerouting_miniupnpd\nflush chain inet filter miniupnpd")
    }

    /// Makes the router claim another address outside than it has, as one behind another router does; with none, its
    /// own again.
    ///
    /// # Errors
    /// What went wrong with its file or with it.
    pub fn claim_address(&self, address: &str) -> Fallible<()> {
        let path = self.router.config();
        let text = std::fs::read_to_string(&path)?;
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.starts_with("ext_ip=")).map(str::to_owned).collect();
        lines.extend((!address.is_empty()).then(|| format!("ext_ip={address}")));
        std::fs::write(&path, lines.join("\n") + "\n")?;
        self.restart_router()
    }

    /// Gives the client's host another address on its network, as a new lease of DHCP does.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn move_client(&self, from: &str, to: &str) -> Fallible<()> {
        let client = &self.client;
        shell(&format!(
            "ip -n {client} addr del {from}/24 dev eth0 && ip -n {client} addr add {to}/24 dev eth0 && \
             ip -n {client} route replace default via 192.168.77.1 src {to}"
        ))
    }

    /// Everything that is exposed at this moment, at the router and in the firewall, in order: `1337/tcp open`, and
    /// mappings as [`Home::mappings`] has them.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn exposed(&self) -> Fallible<Vec<String>> {
        let mut all = self.mappings()?;
        let rules = self.ruleset()?;
        let ours = rules
            .split("chain ")
            .filter(|chain| chain.starts_with("PORTOLAN ") || chain.starts_with("DIPLONAT "));
        for line in ours.flat_map(str::lines).map(str::trim) {
            let Some((protocol, rest)) = line.split_once(" dport ") else { continue };
            let ports = rest.trim_end_matches(" accept").trim_matches(['{', '}', ' ']);
            all.extend(ports.split(", ").map(|port| format!("{}/{protocol} open", port.trim())));
        }
        all.sort();
        Ok(all)
    }

    /// The invariant: what is exposed at this moment is wished.
    ///
    /// # Errors
    /// What is exposed and should not be.
    pub fn exposes_at_most(&self, wished: &[&str]) -> Fallible<()> {
        let beyond: Vec<String> =
            self.exposed()?.into_iter().filter(|one| !wished.contains(&one.as_str())).collect();
        if beyond.is_empty() {
            Ok(())
        } else {
            Err(format!("{beyond:?} is exposed, and nobody wishes it").into())
        }
    }

    /// Ends the router's daemon; packets go on.
    pub fn stop_router(&self) {
        drop(self.router.take());
    }

    /// Mappings that the router holds, as `1337/tcp>192.168.77.2:1337`, in order.
    ///
    /// # Errors
    /// A lease file that cannot be read.
    pub fn mappings(&self) -> Fallible<Vec<String>> {
        self.router.mappings()
    }

    /// The namespace of the client's host.
    pub(crate) fn client_name(&self) -> &str {
        &self.client
    }

    /// The namespace of the world.
    pub(crate) fn world_name(&self) -> &str {
        &self.wan
    }

    /// The router's namespace.
    pub(crate) fn gateway_name(&self) -> &str {
        &self.gateway
    }

    /// A command on the client's host.
    pub fn inside(&self, program: impl AsRef<Path>) -> Command {
        let mut command = enter(&self.client, program.as_ref());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        command
    }

    /// A command on the host outside.
    pub fn outside(&self, program: impl AsRef<Path>) -> Command {
        enter(&self.wan, program.as_ref())
    }

    /// What a program on the client's host says when it succeeds.
    ///
    /// # Errors
    /// What it said when it did not.
    pub fn inside_said(&self, program: &str, args: &[&str]) -> Fallible<String> {
        // Found by hand: the lab's PATH counts inside, not here.
        let program = [self.folder.path().join("bin").join(program)]
            .into_iter()
            .find(|path| path.exists())
            .unwrap_or_else(|| program.into());
        said(self.inside(program).args(args).output()?)
    }

    /// Rules of nftables on the client's host.
    ///
    /// # Errors
    /// What `nft` said.
    pub fn nft_inside(&self, script: &str) -> Fallible<()> {
        nft(&self.client, script)
    }

    /// Rules of nftables on the router.
    ///
    /// # Errors
    /// What `nft` said.
    pub fn nft_at_router(&self, script: &str) -> Fallible<()> {
        nft(&self.gateway, script)
    }

    /// A command on the router.
    pub fn at_router(&self, program: impl AsRef<Path>) -> Command {
        enter(&self.gateway, program.as_ref())
    }

    /// The client's ruleset as `nft` lists it.
    ///
    /// # Errors
    /// What `nft` said.
    pub fn ruleset(&self) -> Fallible<String> {
        said(enter(&self.client, &peers::tool("nft")?).args(["list", "ruleset"]).output()?)
    }

    /// Makes the router deaf to searches of UPnP.
    ///
    /// # Errors
    /// What `nft` said.
    pub fn silence_upnp(&self) -> Fallible<()> {
        nft(
            &self.gateway,
            "add chain inet filter deaf { type filter hook input priority 0; }\nadd rule inet filter deaf udp dport 1900 drop",
        )
    }

    /// Gives a port of the router to another host of its network. Restarts the router, which reads its
    /// mappings from a file then.
    ///
    /// # Errors
    /// What went wrong with the file or the router.
    pub fn occupy(&self, port: u16) -> Fallible<()> {
        self.stop_router();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        std::fs::write(
            self.router.leases(),
            format!("TCP:{port}:192.168.77.9:{port}:{}:other\n", now + 600),
        )?;
        self.restart_router()
    }
}

pub(crate) fn enter(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

pub(crate) fn nft(namespace: &str, script: &str) -> Fallible<()> {
    let mut child = enter(namespace, &peers::tool("nft")?)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
        stdin.write_all(b"\n")?;
    }
    said(child.wait_with_output()?).map(drop)
}

pub(crate) fn shell(script: &str) -> Fallible<()> {
    said(Command::new("sh").args(["-c", script]).output()?).map(drop)
}

fn said(output: Output) -> Fallible<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        .into())
}

/// A name in the lab's path: the program, or one that is not there.
fn door(bin: &Path, name: &str, program: &str, is_open: bool) -> Fallible<()> {
    if !is_open {
        return Ok(());
    }
    let program = peers::tool(program)?;
    // Unpacked rather than installed, it has its extensions beside it.
    let extensions = peers::folder().join("root/usr/lib/x86_64-linux-gnu/xtables");
    let set = if extensions.is_dir() {
        format!("export XTABLES_LIBDIR={}\n", extensions.display())
    } else {
        String::new()
    };
    let path = bin.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{set}exec {} \"$@\"\n", program.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
