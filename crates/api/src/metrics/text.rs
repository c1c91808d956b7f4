//! The text of an exposition, read again for those who want it in another form.

use std::collections::HashMap;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Parts of histograms, and everything else.
    Other,
}

/// One line of an exposition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    pub(crate) kind: Kind,
}

/// OpenMetrics text as Prometheus' older format: a counter's metadata carries the name of its series, info
/// is a gauge, and `# UNIT` and `# EOF` are unknown there.
pub(crate) fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let counters: HashMap<&str, &str> = types(open)
        .filter_map(|(name, kind)| match kind {
            "counter" => Some((name, "_total")),
            "info" => Some((name, "_info")),
            _ => None,
        })
        .collect();
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(what), Some(name), rest) => {
                let suffix = counters.get(name).copied().unwrap_or_default();
                let rest = match (what, rest.unwrap_or_default()) {
                    ("TYPE", "info") => "gauge",
                    ("TYPE", "unknown") => "untyped",
                    (_, rest) => rest,
                };
                text.extend(["# ", what, " ", name, suffix, " ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn types(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
}

/// Every series of an OpenMetrics text.
pub(crate) fn samples(text: &str) -> Vec<Sample> {
    let types: HashMap<&str, &str> = types(text).collect();
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| sample(line, &types)).collect()
}

fn sample(line: &str, types: &HashMap<&str, &str>) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    let kind = match (types.get(name), name.strip_suffix("_total").and_then(|base| types.get(base))) {
        (Some(&"gauge"), _) => Kind::Gauge,
        (_, Some(&"counter")) => Kind::Counter,
        _ => Kind::Other,
    };
    Some(Sample { name: name.to_owned(), labels, value, kind })
}

/// Labels with their values up to the closing brace; what follows it is handed back.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP a Things.\n# TYPE a counter\na_total{x=\"y \\\"z\\\"\",w=\"\"} 3\n\
                        # HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 1.5\n\
                        # TYPE c info\nc_info{version=\"1\"} 1\n# EOF\n";

    #[test]
    fn the_older_format_names_counters_in_full() {
        assert_eq!(
            prometheus(OPEN),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"y \\\"z\\\"\",w=\"\"} 3\n\
             # HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 1.5\n\
             # TYPE c_info gauge\nc_info{version=\"1\"} 1\n"
        );
    }

    #[test]
    fn series_are_read_with_their_labels() {
        let samples = samples(OPEN);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].labels, [("x".into(), "y \"z\"".into()), ("w".into(), String::new())]);
        assert_eq!((samples[0].kind, samples[0].value), (Kind::Counter, 3.0));
        assert_eq!((samples[1].kind, samples[1].value), (Kind::Gauge, 1.5));
        assert_eq!(samples[2].kind, Kind::Other);
    }
}
