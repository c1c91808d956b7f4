//! What goes to the terminal: a table for people, JSON for programs, colour only where it is wanted.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line.
    Jsonl,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` wins over both.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Decides for one stream.
    pub(crate) fn on(self, stream_is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                is_set("CLICOLOR_FORCE") || (stream_is_terminal && std::env::var_os("NO_COLOR").is_none())
            }
        }
    }
}

/// A thing that can stand in a row.
pub(crate) trait Row {
    /// Heads of the columns.
    const COLUMNS: &'static [&'static str];

    /// One cell per column.
    fn cells(&self) -> Vec<String>;
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) color: ColorChoice,
    pub(crate) quiet: bool,
}

impl Output {
    /// True when standard output gets colour.
    pub(crate) fn colored(&self) -> bool {
        self.color.on(io::stdout().is_terminal())
    }

    /// True when standard error gets colour.
    pub(crate) fn colored_errors(&self) -> bool {
        self.color.on(io::stderr().is_terminal())
    }

    /// Shows a list.
    pub(crate) fn list<T: Row + Serialize>(&self, items: &[T]) -> io::Result<()> {
        let text = match self.format {
            Format::Table => table(T::COLUMNS, items.iter().map(Row::cells).collect(), self.colored()),
            Format::Json => format!("{}\n", serde_json::to_string_pretty(items)?),
            Format::Jsonl => {
                let lines = items.iter().map(|item| serde_json::to_string(item).map(|line| line + "\n"));
                lines.collect::<Result<String, _>>()?
            }
        };
        self.write(&text)
    }

    /// Shows one thing: as people read it, or as data.
    pub(crate) fn one<T: Serialize>(&self, item: &T, human: impl FnOnce() -> String) -> io::Result<()> {
        let text = match self.format {
            Format::Table => human(),
            Format::Json => serde_json::to_string_pretty(item)?,
            Format::Jsonl => serde_json::to_string(item)?,
        };
        self.write(&format!("{text}\n"))
    }

    /// Shows one state of a list that is being watched: whole, with its index.
    pub(crate) fn state<T: Row + Serialize>(&self, index: u64, items: &[T]) -> io::Result<()> {
        match self.format {
            Format::Table => {
                if io::stdout().is_terminal() {
                    self.write("\x1b[H\x1b[2J")?;
                }
                self.list(items)?;
                self.write("\n")
            }
            Format::Json | Format::Jsonl => {
                let state = serde_json::json!({ "index": index, "items": items });
                self.write(&format!("{state}\n"))
            }
        }
    }

    /// Says what was done, to people who did not ask for silence or for data.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        if self.quiet || self.format != Format::Table {
            return Ok(());
        }
        self.write(&format!("{text}\n"))
    }

    /// Writes to standard output. A reader that has gone away (`| head`) is not an error worth words.
    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            written => written,
        }
    }
}

/// Columns padded to their widest cell; the last one is left ragged.
fn table(columns: &[&str], rows: Vec<Vec<String>>, color: bool) -> String {
    let heads: Vec<String> = columns.iter().map(|head| head.to_uppercase()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.max().unwrap_or(0).max(heads[column].chars().count())
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(&heads);
    let head = if color { format!("\x1b[1m{}\x1b[0m\n", head.trim_end()) } else { head };
    rows.iter().fold(head, |text, row| text + &paint(&line(row), color))
}

/// Statuses in their colours.
fn paint(line: &str, color: bool) -> String {
    if !color {
        return line.to_owned();
    }
    let statuses = [("passing", 32), ("warning", 33), ("critical", 31)];
    statuses.iter().fold(line.to_owned(), |line, (status, code)| {
        line.replace(status, &format!("\x1b[{code}m{status}\x1b[0m"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = vec![vec!["web".into(), "1".into()], vec!["a-long-name".into(), String::new()]];
        assert_eq!(table(&["name", "n"], rows, false), "NAME         N\nweb          1\na-long-name\n");
    }

    #[test]
    fn colour_follows_the_choice() {
        assert!(ColorChoice::Always.on(false));
        assert!(!ColorChoice::Never.on(true));
    }
}
