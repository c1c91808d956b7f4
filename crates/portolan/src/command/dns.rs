//! `portolan dns setup`: lead the names of the registry to the daemon, by whatever resolves names on this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::load;
use crate::exit::{Exit, Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Dns {
    /// Lead the registry's names to the daemon in this host's resolver
    Setup(Setup),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    sources: SourceArgs,
    /// Show what would be written, and where; the default
    #[arg(long, conflicts_with = "apply")]
    print: bool,
    /// Write it
    #[arg(long)]
    apply: bool,
    /// What resolves names on this host; else what is found
    #[arg(long, value_enum)]
    resolver: Option<Resolver>,
    /// Another root of the file system than /, for images
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Resolver {
    /// systemd-resolved, by a file in its configuration
    SystemdResolved,
    /// NetworkManager with its own dnsmasq
    NetworkManager,
    /// dnsmasq
    Dnsmasq,
    /// /etc/resolv.conf alone, which knows no ports: the daemon then listens on port 53
    ResolvConf,
}

/// A file to write, and what to do afterwards.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    resolver: Resolver,
    file: PathBuf,
    text: String,
    then: String,
}

/// Domains that the registry answers for.
const DOMAINS: [&str; 2] = ["svc.internal", "consul"];
/// Where the daemon listens for those who cannot name a port.
const PLAIN: &str = "127.77.0.53";

pub(crate) fn run(Dns::Setup(args): Dns, global: &Global) -> Result {
    let config = load(&args.sources.sources()?)?.config;
    let listen = config.dns.listen.first().copied();
    let listen = listen.context("the daemon answers no DNS: dns.listen is empty")?;
    let resolver = args.resolver.unwrap_or_else(|| detect(&args.root));
    let present = std::fs::read_to_string(args.root.join("etc/resolv.conf")).unwrap_or_default();
    let mut change = plan(resolver, asked_at(listen), &present);
    change.file = args.root.join(change.file);
    if args.apply {
        apply(&args.root, &change)?;
        return Ok(global.out().say(&format!("wrote {}; now {}", change.file.display(), change.then))?);
    }
    let shown = || {
        let Change { file, text, then, .. } = &change;
        format!("# {}\n{text}# then: {then}", file.display())
    };
    Ok(global.out().one(&change, shown)?)
}

/// Who answers the programs of this host.
fn detect(root: &Path) -> Resolver {
    let has = |path: &str| root.join(path).exists();
    let resolv = std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap_or_default();
    if has("run/systemd/resolve/stub-resolv.conf") || resolv.contains("127.0.0.53") {
        Resolver::SystemdResolved
    } else if has("etc/NetworkManager/NetworkManager.conf")
        && std::fs::read_to_string(root.join("etc/NetworkManager/NetworkManager.conf"))
            .is_ok_and(|text| text.lines().any(|line| line.replace(' ', "") == "dns=dnsmasq"))
    {
        Resolver::NetworkManager
    } else if has("etc/dnsmasq.conf") || has("etc/dnsmasq.d") {
        Resolver::Dnsmasq
    } else {
        Resolver::ResolvConf
    }
}

/// Where programs of this host ask who listens there.
fn asked_at(listen: SocketAddr) -> SocketAddr {
    let own: IpAddr = match listen.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        said => said,
    };
    SocketAddr::new(own, listen.port())
}

fn plan(resolver: Resolver, server: SocketAddr, resolv_conf: &str) -> Change {
    let (address, port) = (server.ip(), server.port());
    let servers = || DOMAINS.map(|domain| format!("server=/{domain}/{address}#{port}\n")).concat();
    // Answers with addresses of 127.0.0.0/8 are what rebinding attacks look like, and are ours.
    let rebind = || DOMAINS.map(|domain| format!("rebind-domain-ok=/{domain}/\n")).concat();
    let (file, text, then) = match resolver {
        Resolver::SystemdResolved => {
            let domains = DOMAINS.map(|domain| format!("~{domain}")).join(" ");
            let text = format!("[Resolve]\nDNS={server}\nDomains={domains}\nDNSSEC=no\n");
            let then = "systemctl restart systemd-resolved; where no link has servers of its own for all names, \
                        also set dns.forward, since those go to the daemon too";
            ("etc/systemd/resolved.conf.d/portolan.conf", text, then)
        }
        Resolver::NetworkManager => (
            "etc/NetworkManager/dnsmasq.d/portolan.conf",
            servers() + &rebind(),
            "nmcli general reload dns-full",
        ),
        Resolver::Dnsmasq => {
            ("etc/dnsmasq.d/portolan.conf", servers() + &rebind(), "systemctl restart dnsmasq")
        }
        Resolver::ResolvConf => (
            "etc/resolv.conf",
            with_first(resolv_conf),
            "let the daemon listen there: dns.listen = [\"127.0.0.1:8600\", \"127.77.0.53:53\"] (it needs \
             CAP_NET_BIND_SERVICE), and set dns.forward to the name servers that stood here first",
        ),
    };
    Change { resolver, file: file.into(), text, then: then.into() }
}

/// The same file with our server before the others; twice is once.
fn with_first(resolv_conf: &str) -> String {
    let own = format!("nameserver {PLAIN}");
    let rest = resolv_conf.lines().filter(|line| line.trim() != own);
    let mut lines: Vec<&str> = rest.collect();
    let at = lines.iter().position(|line| line.trim_start().starts_with("nameserver")).unwrap_or(lines.len());
    lines.insert(at, &own);
    lines.join("\n") + "\n"
}

/// Whole or not at all: under another name first.
fn apply(root: &Path, change: &Change) -> Result {
    let file = root.join(&change.file);
    let failed = |cause: std::io::Error| {
        let exit = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failure,
        };
        let cause = anyhow::Error::new(cause).context(format!("write {}", file.display()));
        Failure::new(exit, cause).advise("run it as root, or write by hand what --print shows")
    };
    if change.resolver == Resolver::ResolvConf && file.is_symlink() {
        let cause = anyhow::anyhow!("{} is a link: somebody else writes it", file.display());
        return Err(Failure::new(Exit::Failure, cause).advise("name who does: --resolver"));
    }
    let new = file.with_extension("portolan-new");
    let folder = file.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(&new, &change.text).map_err(failed)?;
    std::fs::rename(&new, &file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resolver_is_found_and_told_in_its_own_words() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(detect(root.path()), Resolver::ResolvConf);
        write("etc/dnsmasq.conf", "");
        assert_eq!(detect(root.path()), Resolver::Dnsmasq);
        write("etc/NetworkManager/NetworkManager.conf", "[main]\ndns = dnsmasq\n");
        assert_eq!(detect(root.path()), Resolver::NetworkManager);
        write("etc/resolv.conf", "nameserver 127.0.0.53\n");
        assert_eq!(detect(root.path()), Resolver::SystemdResolved);
        let resolved = plan(Resolver::SystemdResolved, asked_at(([127, 0, 0, 1], 8600).into()), "");
        assert_eq!(
            resolved.text,
            "[Resolve]\nDNS=127.0.0.1:8600\nDomains=~svc.internal ~consul\nDNSSEC=no\n"
        );
        let dnsmasq = plan(Resolver::Dnsmasq, asked_at(([127, 0, 0, 1], 8600).into()), "");
        assert!(dnsmasq.text.starts_with("server=/svc.internal/127.0.0.1#8600\n"), "{}", dnsmasq.text);
        apply(root.path(), &dnsmasq).unwrap();
        assert_eq!(
            std::fs::read_to_string(root.path().join("etc/dnsmasq.d/portolan.conf")).unwrap(),
            dnsmasq.text
        );
    }

    #[test]
    fn a_server_is_written_as_each_resolver_reads_it() {
        for (listen, resolved, dnsmasq) in [
            ("[::1]:8600", "DNS=[::1]:8600\n", "/::1#8600\n"),
            ("0.0.0.0:8600", "DNS=127.0.0.1:8600\n", "/127.0.0.1#8600\n"),
            ("[::]:53", "DNS=[::1]:53\n", "/::1#53\n"),
        ] {
            let server = asked_at(listen.parse().unwrap());
            let text = plan(Resolver::SystemdResolved, server, "").text;
            assert!(text.contains(resolved), "{text}");
            let text = plan(Resolver::Dnsmasq, server, "").text;
            assert!(text.contains(dnsmasq), "{text}");
        }
    }

    #[test]
    fn a_plain_resolver_asks_us_first_and_only_once() {
        let once = with_first("search lan\nnameserver 192.168.1.1\noptions rotate\n");
        assert_eq!(once, "search lan\nnameserver 127.77.0.53\nnameserver 192.168.1.1\noptions rotate\n");
        assert_eq!(with_first(&once), once);
        assert_eq!(with_first(""), "nameserver 127.77.0.53\n");
    }
}
