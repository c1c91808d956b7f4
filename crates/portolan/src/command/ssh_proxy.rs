//! `portolan ssh-proxy HOST PORT`: what OpenSSH's ProxyCommand calls.

use std::net::TcpStream;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use rustix::fs::{FileType, fstat};

use super::connect::{Connection, Way, pass_on};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Host as ssh has it (%h): the name of a service, also with `.svc.internal` or `.service.consul` behind it
    #[arg(value_parser = host)]
    host: String,
    /// Port as ssh has it (%p); for hosts that are no service
    port: u16,
    #[command(flatten)]
    way: Way,
}

/// ssh puts the host into a shell's command line: what could be more than a host's name there is none.
fn host(text: &str) -> std::result::Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    match !text.is_empty() && text.len() <= 255 && !text.starts_with('-') && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("this is no host's name".to_owned()),
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let name = service(&args.host);
    let connection = match args.way.connect(name, global) {
        // No service: then it is a host like any other.
        Err(failure) if matches!(failure.exit, Exit::NotFound) && name == args.host => direct(&args)?,
        connected => connected?,
    };
    // ssh makes pipes for a command that relays, and a socket for one that passes the connection on.
    let out = std::io::stdout();
    let is_socket =
        fstat(out.as_fd()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    if is_socket {
        return pass_on(&connection);
    }
    super::block_on(async move {
        connection.relay().await.with_context(|| format!("relay bytes with \"{name}\""))?;
        Ok(())
    })
}

/// The service in a name of ours or of Consul's.
fn service(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let stem = [".svc.internal", ".service.consul"].iter().find_map(|end| host.strip_suffix(end));
    stem.unwrap_or(host)
}

fn direct(args: &Args) -> Result<Connection> {
    let stream = TcpStream::connect((&*args.host, args.port));
    let stream =
        stream.with_context(|| format!("connect to {} port {}, which is no service", args.host, args.port));
    Ok(Connection::tcp(stream.map_err(|cause| Failure::new(Exit::Unreachable, cause))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_in_its_names() {
        assert_eq!(service("sshd"), "sshd");
        assert_eq!(service("sshd.svc.internal."), "sshd");
        assert_eq!(service("sshd.service.consul"), "sshd");
        assert_eq!(service("host.example"), "host.example");
    }

    #[test]
    fn what_a_shell_would_read_is_no_host() {
        for odd in ["", "-oProxyCommand=x", "a b", "$(id)", "a;b", "a`b`", "a\nb", "a/b"] {
            assert!(host(odd).is_err(), "{odd:?}");
        }
        assert!(host("fe80::1%eth0").is_ok());
    }
}
