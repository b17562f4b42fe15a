//! Plots, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::{results::Ingest, subject::Variant};

const SIZE: (u32, u32) = (760, 420);
const COLOURS: [RGBColor; 5] = [
    RGBColor(127, 127, 127),
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(255, 152, 150),
    RGBColor(148, 103, 189),
];

/// A line of a plot: its name, its colour, its points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Requests per second over connections, one line for each variant.
pub(crate) fn ingest(ingest: &Ingest, body_bytes: usize, file: &Path) -> Result<()> {
    let variants = [
        Variant::Hyper,
        Variant::Verify,
        Variant::Signalbox,
        Variant::Held,
        Variant::Tls,
    ];
    let lines = variants
        .into_iter()
        .map(|variant| Line {
            name: variant.title().to_owned(),
            points: ingest
                .rows
                .iter()
                .filter(|row| row.variant == variant && row.body_bytes == body_bytes)
                .map(|row| (row.connections as f64, row.median.rate_per_s))
                .collect(),
        })
        .collect::<Vec<_>>();
    let title = format!("requests/s, bodies of {}", crate::output::size(body_bytes));
    draw(file, &title, "connections", true, &lines)
}

/// Draws `lines`, the x axis logarithmic if it is to be.
pub(crate) fn draw(
    file: &Path,
    title: &str,
    x_name: &str,
    is_log: bool,
    lines: &[Line],
) -> Result<()> {
    paint(file, title, x_name, is_log, lines).map_err(|error| anyhow!("{title}: {error}"))
}

fn paint(
    file: &Path,
    title: &str,
    x_name: &str,
    is_log: bool,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let scale = |x: f64| if is_log { x.max(1.0).log2() } else { x };
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let x_max = points().map(|(x, _)| scale(x)).fold(1.0, f64::max);
    let y_max = points().map(|(_, y)| y).fold(1.0, f64::max) * 1.08;
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .x_labels(9)
        .light_line_style(WHITE)
        .x_label_formatter(&|x| {
            let value = if is_log { x.exp2() } else { *x };
            format!("{value:.0}")
        })
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        if line.points.is_empty() {
            continue;
        }
        let points: Vec<_> = line.points.iter().map(|(x, y)| (scale(*x), *y)).collect();
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.clone(), style))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        chart.draw_series(
            points
                .into_iter()
                .map(|point| Circle::new(point, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
