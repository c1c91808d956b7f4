//! A real browser without a window, driven by the Chrome DevTools protocol over pipes: it says what a page shows once
//! its scripts have run, however long that takes.

use std::io::{BufRead, BufReader, Error, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::LIMIT;

/// The protocol's pipes are descriptors 3 and 4.
const ON_ITS_PIPES: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

/// One browser with one page; it ends with the value.
pub struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    messages: mpsc::Receiver<Value>,
    /// Of the page, which is a target among others.
    session: Option<String>,
    last: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts `chromium` with a profile of its own and an empty page.
    ///
    /// # Errors
    /// It does not start, or does not speak the protocol.
    pub fn start(chromium: &Path) -> std::io::Result<Browser> {
        let profile = tempfile::tempdir()?;
        let mut child = Command::new("sh")
            .args(["-c", ON_ITS_PIPES])
            .arg(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args([
                "--remote-debugging-pipe".to_owned(),
                format!("--user-data-dir={}", profile.path().display()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let commands = child.stdin.take();
        let output =
            BufReader::new(child.stdout.take().ok_or_else(|| Error::other("no pipe from the browser"))?);
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser { child, commands, messages, session: None, last: 0, _profile: profile };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session =
            browser.call("Target.attachToTarget", attach)?["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// Goes to `url`; what was shown before is gone, also when only the fragment differs.
    ///
    /// # Errors
    /// The browser has ended, or cannot reach it.
    pub fn open(&mut self, url: &str) -> std::io::Result<()> {
        for url in ["about:blank", url] {
            let opened = self.call("Page.navigate", json!({ "url": url }))?;
            if let Some(reason) = opened["errorText"].as_str() {
                return Err(Error::other(format!("open {url}: {reason}")));
            }
        }
        Ok(())
    }

    /// The page as it is now, as markup.
    ///
    /// # Errors
    /// The browser has ended.
    pub fn shown(&mut self) -> std::io::Result<String> {
        let expression = json!({ "expression": "document.documentElement.outerHTML", "returnByValue": true });
        let value = self.call("Runtime.evaluate", expression)?;
        Ok(value["result"]["value"].as_str().unwrap_or_default().to_owned())
    }

    fn call(&mut self, method: &str, params: Value) -> std::io::Result<Value> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let gone = || Error::other(format!("{method}: the browser has ended"));
        write!(self.commands.as_mut().ok_or_else(gone)?, "{command}\0")?;
        loop {
            let failed = |cause| Error::other(format!("{method}: no answer from the browser: {cause}"));
            let mut message = self.messages.recv_timeout(LIMIT * 4).map_err(failed)?;
            if message["id"] != self.last {
                continue;
            }
            if let Some(why) = message["error"]["message"].as_str() {
                return Err(Error::other(format!("{method}: {why}")));
            }
            return Ok(message["result"].take());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser without pipes ends by itself, with all of its processes.
        drop(self.commands.take());
        let child = &mut self.child;
        let ended = peers::until(LIMIT, "the browser's end", || child.try_wait().ok().flatten());
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
