//! What the mesh's streams cost beside the QUIC library itself: by the example `beside_quinn` of `crates/mesh`, because
//! the library alone has no daemon to be measured through.

use anyhow::{Context as _, Result, ensure};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::report::{Goal, Row};

/// How much more the mesh may cost.
const MORE: f64 = 1.15;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Vec<Row>> {
    eprintln!("  streams beside the QUIC library");
    // Both ends run in it.
    let mut command = cores.anywhere(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--locked", "--profile", "fast", "--package", "portolan-mesh"]);
    command.args(["--example", "beside_quinn", "--", &context.rounds.to_string()]);
    let output = command.output().context("run the example of crates/mesh")?;
    ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let pair = |what: &str, of: &str| -> Result<(Figure, Figure)> {
        Ok((values(&said, &format!("{what}.mesh.{of}"))?, values(&said, &format!("{what}.bare.{of}"))?))
    };
    let mut rows = Vec::new();
    let rates = [
        ("trips", "round trips on one stream of the mesh"),
        ("one", "streams of the mesh, one after the other"),
        ("many", "streams of the mesh, 64 at a time"),
    ];
    for (what, text) in rates {
        let (ours, theirs) = pair(what, "rate")?;
        let row = Row::new(text, "/s", ours).beside("quinn", theirs);
        rows.push(row.goal(Goal::RatioAtLeast(1.0 / MORE)));
    }
    let (ours, theirs) = pair("bulk", "cost")?;
    let row = Row::new("bulk through the mesh: CPU of both ends", "s/GB", ours).beside("quinn", theirs);
    rows.push(row.goal(Goal::RatioAtMost(MORE)));
    Ok(rows)
}

/// From a line `name value value…`.
fn values(said: &str, name: &str) -> Result<Figure> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in {said:?}"))?;
    let value = |word: &str| word.parse::<f64>().with_context(|| format!("{name} is {word:?}"));
    let figure = line.split_whitespace().map(value).collect::<Result<Vec<f64>>>()?;
    ensure!(!figure.is_empty(), "{name} has no figures");
    Ok(figure.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn values_of_all_rounds_are_found() {
        let said = "trips.bare.cost 9\ntrips.mesh.rate 1.5 3.5 2.5\n";
        assert_eq!(values(said, "trips.mesh.rate").unwrap().median(), 2.5);
        assert!(values(said, "bulk.mesh.cost").is_err());
        assert!(values("bulk.mesh.cost x", "bulk.mesh.cost").is_err());
    }
}
