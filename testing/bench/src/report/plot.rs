//! Curves as an SVG that a person can read in the source too: one panel for each quantity that grows, and what an
//! operation costs there, relative to the smallest.

use std::fmt::Write as _;

/// One line of a panel.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// How many there are, and what an operation costs then; from the smallest on.
    pub(crate) points: Vec<(f64, f64)>,
}

/// One panel.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) curves: Vec<Curve>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
/// Readable on white and on black.
const COLOURS: [&str; 4] = ["#2f7ed8", "#d9822b", "#3a9d5d", "#b0479a"];

/// The whole picture.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#808080\">\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate(0 {})\">", HEIGHT * number as f64);
        out += &draw(panel);
        out += "</g>\n";
    }
    out + "</svg>\n"
}

fn draw(panel: &Panel) -> String {
    let all = || panel.curves.iter().flat_map(Curve::relative);
    let bounds = |of: fn((f64, f64)) -> f64| {
        all().map(of).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (from, to) = bounds(|point| point.0.log10());
    let most = (bounds(|point| point.1).1 * 1.1).max(1.5);
    let x = |value: f64| LEFT + (value.log10() - from) / (to - from).max(0.01) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM);
    let mut out = format!("<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n", panel.title);
    for step in 0..=(most / 0.5) as usize {
        let (value, right) = (step as f64 * 0.5, WIDTH - RIGHT);
        let at = y(value);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#808080\" stroke-opacity=\"0.3\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for exponent in from.ceil() as i32..=to.floor() as i32 {
        let value = 10f64.powi(exponent);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
            x(value),
            HEIGHT - BOTTOM + 18.0
        );
    }
    let mut label_at = TOP;
    for (curve, colour) in panel.curves.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            curve.relative().map(|(at, value)| format!("{:.1},{:.1}", x(at), y(value))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.0}\" y=\"{label_at}\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            WIDTH - RIGHT + 12.0,
            curve.name
        );
        label_at += 18.0;
    }
    out
}

impl Curve {
    /// The same, with the first point as one.
    fn relative(&self) -> impl Iterator<Item = (f64, f64)> {
        let first = self.points.first().map_or(1.0, |point| point.1);
        self.points.iter().map(move |(at, value)| (*at, value / first))
    }
}

#[cfg(test)]
mod tests {
    use super::{Curve, Panel, svg};

    #[test]
    fn a_curve_begins_at_one() {
        let points = vec![(10.0, 4.0), (100.0, 4.0), (1000.0, 8.0)];
        let panel = Panel { title: "services".into(), curves: vec![Curve { name: "x".into(), points }] };
        let picture = svg(&[panel]);
        let line = picture.lines().find(|line| line.contains("polyline")).unwrap();
        let heights: Vec<f64> = line
            .split('"')
            .nth(1)
            .unwrap()
            .split(' ')
            .map(|point| point.split_once(',').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(heights[0], heights[1]);
        assert!(heights[2] < heights[1], "more is higher up");
        assert!(picture.contains(">1000</text>"), "{picture}");
    }
}
