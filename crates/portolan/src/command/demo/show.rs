//! Steps as they are done: green with what was seen, or red with why not.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use serde_json::json;

use crate::output::{Format, Output};

/// Tells the steps.
pub(super) struct Show {
    out: Output,
    begun: Instant,
    steps: usize,
}

impl Show {
    pub(super) fn new(out: Output) -> Show {
        Show { out, begun: Instant::now(), steps: 0 }
    }

    /// Does one step and shows what came of it.
    ///
    /// # Errors
    /// The step's own.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> anyhow::Result<T> {
        self.steps += 1;
        let begun = Instant::now();
        self.announce(title);
        let result = work.await;
        let seen = match &result {
            Ok((_, seen)) => seen.clone(),
            Err(cause) => format!("{cause:#}"),
        };
        self.done(title, result.is_ok(), &seen, begun)?;
        result.map(|(value, _)| value).map_err(|cause| cause.context(title.to_owned()))
    }

    /// On a terminal the step is there while it runs; elsewhere a line is written once.
    fn announce(&self, title: &str) {
        if self.is_table() && std::io::stdout().is_terminal() {
            print!("  … {title}");
            // A terminal that is gone shows nothing, and that is all.
            let _ = std::io::stdout().flush();
        }
    }

    fn done(&self, title: &str, is_ok: bool, seen: &str, begun: Instant) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if !self.is_table() {
            let took_ms = begun.elapsed().as_millis() as u64;
            let line = json!({ "step": title, "ok": is_ok, "seen": seen, "took_ms": took_ms });
            return writeln!(out, "{line}");
        }
        if std::io::stdout().is_terminal() {
            write!(out, "\r\x1b[2K")?;
        }
        let (mark, code) = if is_ok { ("✓", 32) } else { ("✗", 31) };
        let mark = if self.out.colored() { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() };
        writeln!(out, "  {mark} {title}")?;
        for line in seen.lines() {
            writeln!(out, "      {line}")?;
        }
        Ok(())
    }

    /// All steps were done.
    pub(super) fn end(&self) -> std::io::Result<()> {
        let took = self.begun.elapsed().as_secs_f32();
        self.out.say(&format!("\n{} steps, all green, in {took:.1} s", self.steps))
    }

    fn is_table(&self) -> bool {
        self.out.format == Format::Table
    }
}
