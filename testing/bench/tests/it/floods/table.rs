//! What was measured, in Markdown.

use std::path::PathBuf;
use std::time::Duration;

const BEGIN: &str = "<!-- begin floods -->\n";
const END: &str = "<!-- end floods -->";
const HEAD: &str = "\
| attack | others' questions | 99 of 100 | times calm | slowest | on a new connection | times calm | a plain timer | CPU | memory | afterwards |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The name of a row in which nobody attacks.
pub(super) const CALM: &str = "(calm)";

/// One attack.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kept: Waits,
    pub(super) new: Waits,
    /// How late a timer was that has nothing to do with the daemon.
    pub(super) clock: Waits,
    /// Of one processor.
    pub(super) cpu_percent: f64,
    pub(super) kib: u64,
    pub(super) kib_afterwards: u64,
}

/// How long answers took, from the quickest to the slowest.
pub(super) struct Waits(Vec<Duration>);

impl Waits {
    pub(super) fn new(mut waits: Vec<Duration>) -> Waits {
        waits.sort_unstable();
        Waits(waits)
    }

    /// Milliseconds within which so large a share of them came.
    fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
    }
}

impl Row {
    /// A word while the rest is awaited.
    pub(super) fn report(&self) {
        println!(
            "{:22} {:8.2} ms {:8.2} ms on a new connection",
            self.name,
            self.kept.at(0.99),
            self.new.at(0.99)
        );
    }

    fn line(&self, calm: &Row) -> String {
        let (kept, new) = (self.kept.at(0.99), self.new.at(0.99));
        let mib = |kib: u64| kib as f64 / 1024.0;
        format!(
            "| `{}` | {} | {kept:.2} ms | {:.1} | {:.1} ms | {new:.2} ms | {:.1} | {:.2} ms | {:.0} % | {:.1} MiB | {:.1} MiB |\n",
            self.name,
            self.kept.0.len(),
            kept / calm.kept.at(0.99),
            self.kept.at(1.0),
            new / calm.new.at(0.99),
            self.clock.at(0.99),
            self.cpu_percent,
            mib(self.kib),
            mib(self.kib_afterwards),
        )
    }
}

/// The whole table. A machine is not equally calm all the time: it is the middle one of the calm rows that counts.
fn render(rows: &[Row]) -> String {
    let mut calm: Vec<&Row> = rows.iter().filter(|row| row.name == CALM).collect();
    calm.sort_by(|one, other| one.kept.at(0.99).total_cmp(&other.kept.at(0.99)));
    let lines = rows.iter().filter_map(|row| Some(row.line(calm.get(calm.len() / 2)?)));
    HEAD.to_owned() + &lines.collect::<String>()
}

/// Prints it, and puts it between the markers of the document that `PORTOLAN_FLOOD_TABLE` names.
pub(super) fn publish(rows: &[Row], how: &str) {
    let table = render(rows);
    println!("{how}\n\n{table}");
    let Some(path) = std::env::var_os("PORTOLAN_FLOOD_TABLE").map(PathBuf::from) else { return };
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the marker where the table begins");
    let (_, after) = rest.split_once(END).expect("the marker where it ends");
    std::fs::write(&path, format!("{before}{BEGIN}{how}\n\n{table}{END}{after}")).unwrap();
}
