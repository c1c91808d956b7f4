//! A Markdown table that a person can read in the source too.

use super::{Goal, Row};
use crate::harness::figure::Figure;

const HEAD: [&str; 6] = ["", "Portolan", "beside it", "ratio", "goal", ""];

/// The table of some rows; columns that nobody uses are left out.
pub(super) fn render(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEAD.iter().map(ToString::to_string).collect()];
    lines.extend(rows.iter().map(cells));
    let used: Vec<usize> =
        (0..HEAD.len()).filter(|at| lines[1..].iter().any(|line| !line[*at].is_empty())).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = used.iter().map(|at| width(*at).max(3)).collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = used.iter().zip(&widths).map(|(at, width)| format!(" {:width$} ", line[*at]));
        out += &format!("|{}|\n", cells.collect::<Vec<_>>().join("|"));
        if number == 0 {
            let rules = widths.iter().map(|width| "-".repeat(width + 2));
            out += &format!("|{}|\n", rules.collect::<Vec<_>>().join("|"));
        }
    }
    out
}

fn cells(row: &Row) -> Vec<String> {
    let peer = row.peer.as_ref().map(|(name, figure)| format!("{name}: {}", show(figure, row.unit)));
    let ratio = row.ratio().map(|ratio| format!("{ratio:.2}"));
    let goals: Vec<String> = row.goals.iter().map(|goal| wish(*goal, row.unit)).collect();
    let verdict = match row.holds() {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    vec![
        row.what.clone(),
        show(&row.ours, row.unit),
        peer.unwrap_or_default(),
        ratio.unwrap_or_default(),
        goals.join(", "),
        verdict.to_owned(),
    ]
}

fn wish(goal: Goal, unit: &str) -> String {
    match goal {
        Goal::AtLeast(least) => format!("≥ {}", with_unit(&number(least), unit)),
        Goal::Below(most) => format!("< {}", with_unit(&number(most), unit)),
        Goal::RatioAtLeast(least) => format!("ratio ≥ {}", number(least)),
        Goal::RatioAtMost(most) => format!("ratio ≤ {}", number(most)),
    }
}

/// Median, and the spread where there were rounds.
fn show(figure: &Figure, unit: &str) -> String {
    let median = with_unit(&number(figure.median()), unit);
    if figure.rounds() < 2 {
        return median;
    }
    format!("{median} ({}–{})", number(figure.lowest()), number(figure.highest()))
}

/// `12,300/s` and `3.4 ms`.
fn with_unit(number: &str, unit: &str) -> String {
    if unit.is_empty() || unit.starts_with('/') {
        format!("{number}{unit}")
    } else {
        format!("{number} {unit}")
    }
}

/// Three digits that say something, thousands grouped.
fn number(value: f64) -> String {
    if value >= 100.0 {
        return grouped(value.round() as u64);
    }
    let digits = match value {
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{number, render};
    use crate::harness::figure::Figure;
    use crate::report::{Goal, Row};

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [1_234_567.8, 99.96, 3.456, 0.004, 5.0].map(number).to_vec();
        assert_eq!(shown, ["1,234,568", "100", "3.46", "0.004", "5"]);
    }

    #[test]
    fn a_table_says_what_was_missed() {
        let row = Row::new("puts", "/s", Figure::from_iter([900.0, 1000.0, 1100.0]))
            .beside("etcd", Figure::from_iter([500.0]))
            .goal(Goal::AtLeast(2000.0));
        let lines: Vec<String> = render(&[row]).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[2].contains("1,000/s (900–1,100)") && lines[2].contains("etcd: 500/s"), "{}", lines[2]);
        assert!(
            lines[2].contains("2.00") && lines[2].contains("≥ 2,000/s") && lines[2].contains("**missed**")
        );
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
    }

    #[test]
    fn columns_without_a_cell_are_left_out() {
        let table = render(&[Row::new("x", "MB", Figure::from_iter([1.0]))]);
        assert_eq!(table.lines().next().unwrap().matches('|').count(), 3);
    }
}
