//! Documents as pictures: cost against the number of flows, and throughput against workers.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use plotters::prelude::*;

use crate::{
    document::Document,
    measurement::{Label, Phase, Row, Spread},
    report,
};

const SIZE: (u32, u32) = (960, 600);

/// A line of a picture: its name, and for each place the value with its range.
type Lines = BTreeMap<String, Vec<(f64, Spread)>>;

/// Draws cycles of work per packet against flows into an SVG file: a line for each scenario of established flows, with
/// the range of its rounds.
///
/// # Errors
/// No scenario was measured with several numbers of flows, or the file cannot be written.
pub fn cost(document: &Document, to: &Path) -> Result<()> {
    let point = |row: &Row| (f64::from(row.label.flows), row.work_cycles);
    let lines = lines(document, |row| row.label.workers == 1, usual, point);
    ensure!(!lines.is_empty(), "no scenario was measured with more than one number of flows");
    let what =
        Axes { title: title(document, "Work per packet"), x: "flows", y: "cycles per packet", is_log: true };
    draw(&lines, &what, to)
}

/// Draws million packets per second against workers.
///
/// # Errors
/// No scenario was measured with several numbers of workers, or the file cannot be written.
pub fn throughput(document: &Document, to: &Path) -> Result<()> {
    let point =
        |row: &Row| (row.label.workers as f64, Spread { min: row.mpps, median: row.mpps, max: row.mpps });
    let lines = lines(document, |_| true, |label| format!("{}, {} flows", usual(label), label.flows), point);
    ensure!(!lines.is_empty(), "no scenario was measured with more than one number of workers");
    let what = Axes {
        title: title(document, "Throughput"),
        x: "workers",
        y: "million packets per second",
        is_log: false,
    };
    draw(&lines, &what, to)
}

fn title(document: &Document, what: &str) -> String {
    format!("{what} ({}, {})", document.machine.cpu, document.program.revision)
}

/// The lines that have more than one place.
fn lines(
    document: &Document,
    is_drawn: impl Fn(&Row) -> bool,
    name: impl Fn(&Label) -> String,
    point: impl Fn(&Row) -> (f64, Spread),
) -> Lines {
    let mut lines = Lines::new();
    for row in document.rows.iter().filter(|row| row.label.phase == Phase::Established && is_drawn(row)) {
        let name = name(&row.label);
        lines.entry(name).or_default().push(point(row));
    }
    for points in lines.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|a, b| a.0 == b.0);
    }
    lines.retain(|_, points| points.len() > 1);
    lines
}

fn usual(label: &Label) -> String {
    format!("{}, {}, frame {}", report::scenario(label), label.buffers, label.frames)
}

struct Axes {
    title: String,
    x: &'static str,
    y: &'static str,
    /// Whether equal distances of x are equal ratios.
    is_log: bool,
}

impl Axes {
    fn place(&self, x: f64) -> f64 {
        if self.is_log { x.log10() } else { x }
    }

    fn value(&self, place: f64) -> String {
        let x = if self.is_log { 10f64.powf(place) } else { place };
        format!("{x:.0}")
    }
}

fn draw(lines: &Lines, axes: &Axes, to: &Path) -> Result<()> {
    let mut svg = String::new();
    // Its errors are of a type that is only known to the backend, and a string takes everything.
    chart(lines, axes, &mut svg).map_err(|error| anyhow!("the picture: {error}"))?;
    fs::write(to, svg).with_context(|| to.display().to_string())
}

fn chart(lines: &Lines, axes: &Axes, svg: &mut String) -> Result<(), Box<dyn Error>> {
    let points = || lines.values().flatten();
    let places = || points().map(|(x, _)| axes.place(*x));
    let (first, last) = places().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let top = points().fold(0.0f64, |top, (_, value)| top.max(value.max)) * 1.1;
    let margin = (last - first) * 0.05;
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&axes.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(first - margin..last + margin, 0.0..top)?;
    let value = |place: &f64| axes.value(*place);
    chart.configure_mesh().x_desc(axes.x).y_desc(axes.y).x_label_formatter(&value).draw()?;
    for (n, (name, points)) in lines.iter().enumerate() {
        let style = Palette99::pick(n).stroke_width(2);
        let line = points.iter().map(|(x, value)| (axes.place(*x), value.median));
        let legend = move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style);
        chart.draw_series(LineSeries::new(line, style))?.label(name).legend(legend);
        chart.draw_series(points.iter().map(|(x, Spread { min, median, max })| {
            ErrorBar::new_vertical(axes.place(*x), *min, *median, *max, style, 6)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::Machine,
        measurement::Outcome,
        scenario::{Name, Parameters},
    };

    fn row(name: Name, flows: u32, workers: usize) -> Row {
        let scenario = name.with(&Parameters { flows, ..Parameters::default() });
        Row {
            label: Label { workers, ..Label::new(&*scenario, "mbuf", 32) },
            work_cycles: Spread { min: 90.0, median: 100.0, max: 110.0 },
            total_cycles: 100.0,
            mpps: 23.0 * workers as f64,
            instructions: None,
            latency: Vec::new(),
            outcome: Outcome::default(),
            rounds: 7,
            interrupted: 0,
        }
    }

    #[test]
    fn a_picture_has_a_line_for_each_scenario_with_several_places() {
        let rows = vec![
            row(Name::Snat, 1, 1),
            row(Name::Snat, 10_000, 1),
            row(Name::Snat, 10_000, 2),
            row(Name::Eip, 1, 1),
        ];
        let document = Document::new(Machine::here(), rows);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.svg");
        for draw in [cost, throughput] {
            draw(&document, &path).unwrap();
            let svg = fs::read_to_string(&path).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("snat, mbuf") && !svg.contains("eip"), "{svg}");
        }
        let one = Document { rows: vec![row(Name::Eip, 1, 1)], ..document };
        assert!(cost(&one, &path).is_err() && throughput(&one, &path).is_err());
    }
}
