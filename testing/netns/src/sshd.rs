//! A real sshd on a host, without installing it: a user of its own, a folder of its own, keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Failure, Missing};
use crate::host::Host;

/// One that runs; ended with the value. Root may log in with its key.
#[derive(Debug)]
pub struct Sshd {
    process: Child,
    folder: PathBuf,
}

/// The programs that it takes.
#[derive(Debug)]
pub struct SshTools {
    /// The client.
    pub ssh: PathBuf,
    sshd: PathBuf,
    keygen: PathBuf,
}

impl SshTools {
    /// # Errors
    /// One is missing: a reason to skip.
    pub fn find() -> Result<SshTools, Missing> {
        peers::tool("unshare")?;
        Ok(SshTools {
            ssh: peers::tool("ssh")?,
            sshd: peers::tool("sshd")?,
            keygen: peers::tool("ssh-keygen")?,
        })
    }
}

impl Sshd {
    /// Starts one on `host` that listens on `addresses` (`address:port`), with its files in `folder`. It may not listen yet
    /// when this returns.
    ///
    /// # Errors
    /// Files that cannot be written, programs that cannot be started.
    pub fn start(
        tools: &SshTools,
        host: &Host,
        folder: &Path,
        addresses: &[String],
    ) -> Result<Sshd, Failure> {
        fs::create_dir_all(folder).map_err(Failure::io(format!("make {}", folder.display())))?;
        for name in ["host_key", "user_key"] {
            let mut command = Command::new(&tools.keygen);
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name));
            let made = command.output().map_err(Failure::io("run ssh-keygen"))?;
            if !made.status.success() {
                let said = String::from_utf8_lossy(&made.stderr).into_owned();
                return Err(Failure::Command { command: "ssh-keygen".to_owned(), said });
            }
        }
        configure(folder, addresses).map_err(Failure::io("set sshd up"))?;
        let script = "mount --bind \"$F/passwd\" /etc/passwd && mount --bind \"$F/shadow\" /etc/shadow && \
                      mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$SSHD\" -D -e -f \"$F/sshd_config\"";
        let mut command = host.command("unshare");
        command.args(["-m", "sh", "-c", script]).env("F", folder).env("SSHD", &tools.sshd);
        let log = fs::File::create(folder.join("sshd.log")).map_err(Failure::io("make sshd's log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().map_err(Failure::io("start sshd"))?;
        Ok(Sshd { process, folder: folder.to_owned() })
    }

    /// The key that it lets root in with.
    pub fn key(&self) -> PathBuf {
        self.folder.join("user_key")
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("sshd.log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Gone already, where this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configure(folder: &Path, addresses: &[String]) -> std::io::Result<()> {
    fs::copy(folder.join("user_key.pub"), folder.join("authorized"))?;
    let users = fs::read_to_string("/etc/passwd")?;
    let mut users: Vec<_> = users.lines().filter(|line| !line.starts_with("sshd:")).collect();
    users.push("sshd:x:109:65534::/run/sshd:/usr/sbin/nologin\n");
    fs::write(folder.join("passwd"), users.join("\n"))?;
    fs::write(folder.join("shadow"), "root:*:19000:0:99999:7:::\n")?;
    let listens: String = addresses.iter().map(|address| format!("ListenAddress {address}\n")).collect();
    let folder = folder.display();
    let config = format!(
        "{listens}HostKey {folder}/host_key\nPidFile none\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\n"
    );
    fs::write(format!("{folder}/sshd_config"), config)
}
