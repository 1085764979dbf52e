//! Draws the report as a picture: how the times of each stage are spread, and how they change over time. The picture
//! needs neither a font nor a script, and is light or dark as the viewer prefers.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use super::analysis::Analysis;
use super::axis::{Rows, count, human};
use super::histogram::us;
use super::report::QUANTILES;
use super::stage::Stage;
use super::timeline::{COLUMNS, ROWS, Timeline, drawn};
use crate::show::number::number;

const WIDTH: f64 = 960.0;
/// The margins on both sides of the plots.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
const TOP: f64 = 64.0;
const DISTRIBUTION: f64 = 56.0;
const TIMELINE: f64 = 84.0;
/// The space above each plot for its title.
const TITLE: f64 = 26.0;
const AXIS: f64 = 34.0;
/// How much of a horizontal axis, and of a vertical one, a label takes.
const ACROSS: f64 = 60.0;
const ABOVE: f64 = 16.0;
/// How many columns of a timeline are drawn at least; fewer would be wide bars.
const SHORTEST: usize = 24;

/// The colours are written out because some viewers do not know CSS variables, and would draw black on black.
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1c2330}\
.h{font-size:17px;font-weight:600}.t{font-weight:600}.f{fill:#667085;font-size:11px}\
.g{fill:#ffffff}.l{stroke:#d9dee7;stroke-width:1}.b{fill:#2f6fdb}\
.p50,.p90,.p99{fill:none;stroke-width:1.6}.p50{stroke:#0b8a5c}.p90{stroke:#b26a00}.p99{stroke:#c2255c}\
@media(prefers-color-scheme:dark){text{fill:#e6e9ef}.f{fill:#98a2b3}.g{fill:#14181f}.l{stroke:#333c4a}\
.b{fill:#4a80dc}.p50{stroke:#3ddc9a}.p90{stroke:#ffb454}.p99{stroke:#ff6b9d}}";

fn title(stage: Stage) -> &'static str {
    match stage {
        Stage::Queue => "Kernel upcall to vswitchd receive",
        Stage::Lookup => "Lookup of the upcall itself",
        Stage::Batch => "Rest of the batch, lookup to execute",
        Stage::Execute => "vswitchd execute to kernel receive",
        Stage::Overhead => "Overhead",
        Stage::Socket | Stage::Wait | Stage::KernelPut | Stage::KernelExecute => stage.title(),
        Stage::Total => "Kernel upcall to kernel packet execute",
    }
}

/// Draws the picture. `subtitle` says what was traced.
pub fn write(out: &mut impl Write, analysis: &Analysis, subtitle: &str) -> io::Result<()> {
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = draw(&mut svg, analysis, subtitle);
    out.write_all(svg.as_bytes())
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) -> fmt::Result {
    write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">"
    )?;
    for c in text.chars() {
        match c {
            '<' => svg.push_str("&lt;"),
            '>' => svg.push_str("&gt;"),
            '&' => svg.push_str("&amp;"),
            c if c.is_control() => svg.push(' '),
            c => svg.push(c),
        }
    }
    svg.push_str("</text>\n");
    Ok(())
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) -> fmt::Result {
    writeln!(
        svg,
        "<path class=\"l\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
        from.0, from.1, to.0, to.1
    )
}

fn draw(svg: &mut String, analysis: &Analysis, subtitle: &str) -> fmt::Result {
    let drawn = drawn(analysis.of_kernel);
    let stages = drawn.len() as f64;
    let middle = TOP + stages * (DISTRIBUTION + TITLE) + AXIS + 36.0;
    let height = match analysis.stats.timeline {
        Some(_) => middle + stages * (TIMELINE + TITLE) + AXIS,
        None => TOP + 64.0,
    };
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>Where the time of upcalls goes</title>\n<style>{STYLE}</style>\n\
         <rect class=\"g\" width=\"{WIDTH}\" height=\"{height}\"/>"
    )?;
    text(
        svg,
        "h",
        LEFT,
        28.0,
        "start",
        "Where the time of upcalls goes",
    )?;
    let summary = format!(
        "{} of {} that ovs-vswitchd received put together with the kernel's; {subtitle}",
        analysis.stats.sets,
        number(analysis.stats.received, "upcalls")
    );
    text(svg, "f", LEFT, 46.0, "start", &summary)?;
    let Some(timeline) = &analysis.stats.timeline else {
        text(
            svg,
            "t",
            LEFT,
            TOP + 40.0,
            "start",
            "There were no upcalls.",
        )?;
        svg.push_str("</svg>\n");
        return Ok(());
    };
    let rows = Rows::of(timeline);
    legend(svg)?;
    for (i, stage) in drawn.iter().copied().enumerate() {
        let top = TOP + i as f64 * (DISTRIBUTION + TITLE) + TITLE;
        distribution(svg, analysis, timeline, rows, (i, stage), top)?;
    }
    let axis = TOP + stages * (DISTRIBUTION + TITLE);
    for tick in rows.ticks(PLOT, ACROSS) {
        let x = LEFT + rows.place(tick) * PLOT;
        text(svg, "f", x, axis + 16.0, "middle", &human(tick))?;
    }
    text(svg, "t", LEFT, middle - 6.0, "start", "Over time")?;
    let what = "the stronger the shade the more upcalls; lines: p50 and p99";
    text(svg, "f", LEFT + 70.0, middle - 6.0, "start", what)?;
    for (i, stage) in drawn.iter().copied().enumerate() {
        let top = middle + i as f64 * (TIMELINE + TITLE) + TITLE;
        course(svg, timeline, rows, (i, stage), top)?;
    }
    time_axis(svg, timeline, middle + stages * (TIMELINE + TITLE))?;
    svg.push_str("</svg>\n");
    Ok(())
}

fn legend(svg: &mut String) -> fmt::Result {
    let mut x = WIDTH - RIGHT - 150.0;
    for name in ["p50", "p90", "p99"] {
        writeln!(
            svg,
            "<path class=\"{name}\" d=\"M{x:.1} 42L{:.1} 42\"/>",
            x + 16.0
        )?;
        text(svg, "f", x + 20.0, 46.0, "start", name)?;
        x += 52.0;
    }
    Ok(())
}

/// Draws how the times of a stage are spread, and where its quantiles are.
fn distribution(
    svg: &mut String,
    analysis: &Analysis,
    timeline: &Timeline,
    rows: Rows,
    (number, stage): (usize, Stage),
    top: f64,
) -> fmt::Result {
    let bottom = top + DISTRIBUTION;
    let samples = Stage::ALL
        .iter()
        .position(|known| *known == stage)
        .map(|i| &analysis.stats.stages[i]);
    let Some(samples) = samples.filter(|samples| samples.count() > 0) else {
        text(svg, "t", LEFT, top - 8.0, "start", title(stage))?;
        text(svg, "f", LEFT, top + 24.0, "start", "not seen")?;
        return line(svg, (LEFT, bottom), (LEFT + PLOT, bottom));
    };
    let view = samples.view();
    let mut figures = String::new();
    for (share, name) in QUANTILES {
        write!(figures, "{name} {} · ", human(view.quantile(share) * 1e3))?;
    }
    write!(figures, "max {}", human(samples.max() * 1e3))?;
    text(svg, "t", LEFT, top - 8.0, "start", title(stage))?;
    text(svg, "f", LEFT + PLOT, top - 8.0, "end", &figures)?;
    for tick in rows.ticks(PLOT, ACROSS) {
        let x = LEFT + rows.place(tick) * PLOT;
        line(svg, (x, top), (x, bottom))?;
    }
    let sums: Vec<u64> = (rows.first..rows.end)
        .map(|row| {
            let columns = timeline.cells[number].iter();
            columns.map(|column| u64::from(column[row])).sum()
        })
        .collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let step = PLOT / rows.len() as f64;
    write!(svg, "<path class=\"b\" d=\"")?;
    for (row, count) in sums.iter().enumerate().filter(|(_, count)| **count > 0) {
        // Even a single upcall has to be visible.
        let height = (*count as f64 / most as f64 * DISTRIBUTION).max(1.0);
        write!(
            svg,
            "M{:.1} {bottom:.1}v-{height:.1}h{:.1}v{height:.1}z",
            LEFT + row as f64 * step + 0.5,
            step - 1.0
        )?;
    }
    svg.push_str("\"/>\n");
    for (share, class) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
        let x = LEFT + rows.place(view.quantile(share) * 1e3) * PLOT;
        writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>",
            top - 3.0
        )?;
    }
    text(svg, "f", LEFT - 6.0, top + 10.0, "end", &count(most))?;
    line(svg, (LEFT, bottom), (LEFT + PLOT, bottom))
}

/// How many columns of a timeline are shown.
fn columns(timeline: &Timeline) -> usize {
    (timeline.last + 1).clamp(SHORTEST, COLUMNS)
}

/// Draws how the times of a stage change over the trace.
fn course(
    svg: &mut String,
    timeline: &Timeline,
    rows: Rows,
    (number, stage): (usize, Stage),
    top: f64,
) -> fmt::Result {
    /// How many shades there are.
    const SHADES: usize = 6;
    let bottom = top + TIMELINE;
    let cells = &timeline.cells[number];
    text(svg, "t", LEFT, top - 8.0, "start", title(stage))?;
    for tick in rows.ticks(TIMELINE, ABOVE) {
        let y = bottom - rows.place(tick) * TIMELINE;
        line(svg, (LEFT, y), (LEFT + PLOT, y))?;
        text(svg, "f", LEFT - 6.0, y + 4.0, "end", &human(tick))?;
    }
    let columns = columns(timeline);
    let (wide, high) = (PLOT / columns as f64, TIMELINE / rows.len() as f64);
    let most = cells.iter().flatten().copied().max().unwrap_or(0).max(1);
    let shade = |count: u32| -> usize {
        // The scale is logarithmic so that rare times, which matter most, are visible.
        let share = f64::from(count).ln_1p() / f64::from(most).ln_1p();
        ((share * SHADES as f64).ceil() as usize).clamp(1, SHADES)
    };
    // The coordinates are cells, counted upwards, so that the numbers are short. A run of one shade is one rectangle.
    writeln!(
        svg,
        "<g class=\"b\" shape-rendering=\"crispEdges\" transform=\"translate({LEFT} {bottom}) scale({wide:.4} -{high:.4})\">"
    )?;
    for level in 1..=SHADES {
        let mut path = String::new();
        for (y, row) in (rows.first..rows.end).enumerate() {
            let mut x = 0;
            while x < columns {
                let run = cells[x..columns]
                    .iter()
                    .take_while(|column| column[row] > 0 && shade(column[row]) == level)
                    .count();
                if run > 0 {
                    write!(path, "M{x} {y}h{run}v1h-{run}z")?;
                }
                x += run.max(1);
            }
        }
        if !path.is_empty() {
            let opacity = 0.1 + 0.75 * level as f64 / SHADES as f64;
            writeln!(svg, "<path fill-opacity=\"{opacity:.2}\" d=\"{path}\"/>")?;
        }
    }
    svg.push_str("</g>\n");
    for (share, class) in [(0.5, "p50"), (0.99, "p99")] {
        let mut path = String::new();
        let mut drawing = false;
        for (i, column) in cells[..columns].iter().enumerate() {
            match quantile(column, share) {
                Some(row) => {
                    let x = LEFT + i as f64 * wide;
                    let y = bottom - (row as f64 + 0.5 - rows.first as f64) * high;
                    let command = if drawing { 'L' } else { 'M' };
                    write!(path, "{command}{x:.1} {y:.1}H{:.1}", x + wide)?;
                    drawing = true;
                }
                // A column without upcalls interrupts the line.
                None => drawing = false,
            }
        }
        if !path.is_empty() {
            writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>")?;
        }
    }
    line(svg, (LEFT, bottom), (LEFT + PLOT, bottom))
}

/// The row that a `share` of the upcalls of a column does not exceed.
fn quantile(column: &[u32; ROWS], share: f64) -> Option<usize> {
    let total: u64 = column.iter().map(|count| u64::from(*count)).sum();
    let rank = (share * total as f64).ceil() as u64;
    let mut seen = 0;
    column
        .iter()
        .position(|count| {
            seen += u64::from(*count);
            seen >= rank.max(1)
        })
        .filter(|_| total > 0)
}

fn time_axis(svg: &mut String, timeline: &Timeline, y: f64) -> fmt::Result {
    let length = columns(timeline) as f64 * timeline.step as f64;
    // A step is 1, 2 or 5 times a power of ten, and there are at most six.
    let rough = length / 6.0;
    let power = 10f64.powf(rough.max(1.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let mut time = 0.0;
    while time <= length {
        let x = LEFT + time / length * PLOT;
        line(svg, (x, y), (x, y + 4.0))?;
        let label = if time > 0.0 {
            human(time)
        } else {
            "0".to_string()
        };
        // A label that would extend beyond the plot ends with it.
        let at_end = x > LEFT + PLOT - RIGHT;
        let (x, anchor) = if at_end {
            (LEFT + PLOT, "end")
        } else {
            (x, "middle")
        };
        text(svg, "f", x, y + 17.0, anchor, &label)?;
        time += step;
    }
    let from = format!("since {:.6} s (CLOCK_MONOTONIC)", us(timeline.start) / 1e6);
    text(svg, "f", LEFT + PLOT, y + 30.0, "end", &from)
}
