//! Writes the report as text. The sections that `upcall_cost.py` has come first, under its titles, in its order and
//! with its numbers.

mod slow;

use std::fmt::Write as _;
use std::io::{self, Write};

use super::analysis::{Analysis, sum};
use super::event::Kind;
use super::groups::Group;
use super::histogram::{EXACT, Samples, Scale, us};
use super::stage::Stage;
use super::stats::BATCH_SIZES;
use crate::show::errno;
use crate::show::escape::escape;
use crate::show::number::number;

/// What the report shows.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub scale: Scale,
    /// Also show the times that each histogram is made of.
    pub sets: bool,
}

const BAR: &str = "∎";

/// Writes the report.
pub fn write(out: &mut impl Write, analysis: &Analysis, options: &Options) -> io::Result<()> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut text, analysis, options);
    out.write_all(text.as_bytes())
}

fn sections(text: &mut String, analysis: &Analysis, options: &Options) -> std::fmt::Result {
    let stats = &analysis.stats;
    events(text, analysis)?;
    warnings(text, analysis)?;
    if stats.received == 0 {
        unmatched(text, analysis)?;
        return writeln!(text, "\nNo upcall data sets were found!");
    }
    writeln!(text, "\n=> Upcalls handled per thread:")?;
    let handlers = stats.handlers();
    // The threads are in the order of their names, so that namesakes are neighbours.
    for namesakes in handlers.chunk_by(|a, b| a.comm == b.comm) {
        for handler in namesakes {
            let mut name = String::new();
            escape(&mut name, &handler.comm)?;
            if namesakes.len() > 1 {
                write!(name, " [{}]", handler.tid)?;
            }
            writeln!(text, "  {name:36}: {:>10}", handler.upcalls)?;
        }
    }
    batches(text, analysis)?;
    let shown = Stage::shown(analysis.of_kernel);
    for (stage, samples) in shown.iter().zip(&stats.stages) {
        writeln!(text, "\n=> {} (microseconds):", stage.title())?;
        if analysis.of_kernel {
            let (from, to) = stage.ends();
            writeln!(text, "# from {from} to {to}")?;
        }
        histogram(text, samples, options)?;
    }
    stages(text, analysis)?;
    for (title, groups) in [
        ("handler", stats.by_handler.by_count()),
        ("port", stats.by_port.by_count()),
        ("datapath", stats.by_datapath.by_count()),
        ("batch size", stats.by_batch()),
    ] {
        breakdown(text, title, &groups)?;
    }
    slow::slowest(text, analysis)?;
    unmatched(text, analysis)
}

fn events(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    let counts = &analysis.counts;
    writeln!(
        text,
        "\n=> Events received per type (usable/total) [missed events]:"
    )?;
    let mut kinds = Kind::ALL;
    kinds.sort_by_key(|kind| kind.name());
    for kind in kinds {
        let i = kind as usize;
        let (usable, total, missed) = (counts.usable[i], counts.total[i], counts.missed[i]);
        // The report of upcall_cost.py does not have these lines.
        if matches!(kind, Kind::DpFailed | Kind::DpQueued) && total == 0 && missed == 0 {
            continue;
        }
        writeln!(
            text,
            "  {:36}: {usable:10}/{total:10} [{missed:10}]",
            kind.name()
        )?;
    }
    for (count, what) in [
        (counts.undecodable, "undecodable records"),
        (counts.unreadable, "events lost for unreadable arguments"),
        (counts.unseen, "events that the kernel did not show"),
    ] {
        if count > 0 {
            writeln!(text, "  {what:36}: {count:10}")?;
        }
    }
    Ok(())
}

fn warnings(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    let counts = &analysis.counts;
    let lost = || {
        counts
            .missed
            .iter()
            .chain([&counts.unreadable, &counts.unseen])
    };
    if lost().any(|count| *count == u64::MAX) {
        writeln!(
            text,
            "\nNOTE: A count of {} means that as many events or more were lost.",
            u64::MAX
        )?;
    }
    if counts.missed.iter().any(|missed| *missed > 0) {
        text.push_str(
            "\nWARNING: Not all events were captured!\n         \
             Increase the BPF ring buffer size with the --buffer-page-count option.\n",
        );
    }
    if counts.partial > 0 {
        writeln!(
            text,
            "\nNOTE: Of {} a part of the packet was captured and compared; {} of them were in pages,\n      \
             for the others --packet-size may be increased.",
            number(counts.partial, "kernel upcalls"),
            counts.paged
        )?;
    }
    Ok(())
}

/// Writes the histogram of batch sizes in two columns of 32 rows.
fn batches(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    let stats = &analysis.stats;
    let total = sum(&stats.batches);
    let smallest = stats.batches.iter().position(|count| *count > 0);
    writeln!(text, "\n=> Histogram of upcalls per batch:")?;
    writeln!(
        text,
        "# NumSamples = {total}; Min = {}; Max = {}",
        smallest.map_or(0, |size| size + 1),
        stats.largest_batch
    )?;
    let most = stats.batches.iter().copied().max().unwrap_or(0);
    let scale = if most > 4 { most / 4 } else { 1 };
    writeln!(text, "# each {BAR} represents a count of {scale}")?;
    let bar = |count: u64| BAR.repeat(usize::try_from(count / scale).unwrap_or(0).min(22));
    let half = BATCH_SIZES / 2;
    for size in 1..=half {
        let (left, right) = (stats.batches[size - 1], stats.batches[size + half - 1]);
        let line = format!(
            "{size:5} [{left:8}]: {:22}  {:5} [{right:8}]: {:22}",
            bar(left),
            size + half,
            bar(right)
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    let more = stats.batches[BATCH_SIZES];
    if more > 0 {
        let bars = bar(more);
        writeln!(text, "{:>5} [{more:8}]: {bars}", format!(">{BATCH_SIZES}"))?;
    }
    Ok(())
}

fn histogram(text: &mut String, samples: &Samples, options: &Options) -> std::fmt::Result {
    let count = samples.count();
    if options.sets {
        let kept = samples.kept();
        text.push('[');
        for (i, ns) in kept.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(text, "{separator}{:?}", us(*ns))?;
        }
        text.push_str("]\n");
        if (kept.len() as u64) < count {
            let more = count - kept.len() as u64;
            writeln!(text, "# and {more} more that are not kept")?;
        }
    }
    if count == 0 {
        return writeln!(text, "# NumSamples = 0");
    }
    let (min, max) = (samples.min(), samples.max());
    if count == 1 {
        return writeln!(text, "# NumSamples = 1; Min = {min:.4}; Max = {max:.4}");
    }
    writeln!(
        text,
        "# NumSamples = {count}; Min = {min:.2}; Max = {max:.2}"
    )?;
    let view = samples.view();
    let variance = samples.variance();
    writeln!(
        text,
        "# Mean = {:.6}; Variance = {variance:.6}; SD = {:.6}; Median {:.6}",
        samples.mean(),
        variance.sqrt(),
        view.median()
    )?;
    let buckets = view.buckets(options.scale);
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    let scale = if most > 75 { most / 75 } else { 1 };
    writeln!(text, "# each {BAR} represents a count of {scale}")?;
    for bucket in &buckets {
        let bar = BAR.repeat(usize::try_from(bucket.count / scale).unwrap_or(0));
        let line = format!(
            "{:10.4} - {:10.4} [{:6}]: {bar}",
            bucket.low, bucket.high, bucket.count
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The quantiles that are shown, and their names.
pub const QUANTILES: [(f64, &str); 4] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

fn stages(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    writeln!(text, "\n=> Percentiles of each stage (microseconds):")?;
    if analysis
        .stats
        .stages
        .iter()
        .any(|samples| !samples.is_exact())
    {
        writeln!(
            text,
            "# of more than {EXACT} upcalls the percentiles, here and below, are within 1/32"
        )?;
    }
    write!(text, "  {:47} {:>9}", "STAGE", "UPCALLS")?;
    for (_, name) in QUANTILES {
        write!(text, " {:>10}", name.to_uppercase())?;
    }
    writeln!(text, " {:>10}", "MAX")?;
    for stage in Stage::in_order(analysis.of_kernel) {
        let samples = &analysis.stats.stages[*stage as usize];
        write!(text, "  {:47} {:>9}", stage.title(), samples.count())?;
        if samples.count() > 0 {
            let view = samples.view();
            for (share, _) in QUANTILES {
                write!(text, " {:>10.3}", view.quantile(share))?;
            }
            write!(text, " {:>10.3}", samples.max())?;
        }
        text.push('\n');
    }
    Ok(())
}

fn breakdown(text: &mut String, title: &str, groups: &[&Group]) -> std::fmt::Result {
    /// How many rows are shown; `--format json` has all.
    const ROWS: usize = 32;
    writeln!(text, "\n=> Upcalls by {title} (microseconds):")?;
    writeln!(
        text,
        "  {:34} {:>9}  {:<21}  {:<21}  kernel to kernel",
        "", "", "to the daemon", "lookup"
    )?;
    write!(text, "  {:34} {:>9}", title.to_uppercase(), "UPCALLS")?;
    writeln!(
        text,
        "  {0:>10} {1:>10}  {0:>10} {1:>10}  {0:>10} {1:>10} {2:>10}",
        "P50", "P99", "MAX"
    )?;
    for group in groups.iter().take(ROWS) {
        let mut name = String::new();
        escape(&mut name, group.name.as_bytes())?;
        let mut line = format!("  {name:34} {:>9}", group.count);
        for (i, samples) in group.stages.iter().enumerate() {
            let last = i == 2;
            let view = samples.view();
            let mut values = vec![view.quantile_ns(0.5), view.quantile_ns(0.99)];
            if last {
                values.push(samples.max_ns());
            }
            line.push(' ');
            for value in values {
                match value {
                    Some(ns) => write!(line, " {:>10.2}", us(ns))?,
                    None => write!(line, " {:>10}", "-")?,
                }
            }
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    if groups.len() > ROWS {
        writeln!(text, "  and {} more", groups.len() - ROWS)?;
    }
    Ok(())
}

/// An errno with its name.
fn named(errno: i32) -> String {
    let name = errno::name(errno).unwrap_or("");
    format!("{errno} {name}").trim_end().to_string()
}

fn unmatched(text: &mut String, analysis: &Analysis) -> std::fmt::Result {
    let mut failed = analysis.matcher.failed().peekable();
    if failed.peek().is_some() {
        writeln!(text, "\n=> Failed upcalls by error:")?;
        for (errno, count) in failed {
            writeln!(text, "  {:36}: {count:>10}", named(errno))?;
        }
    }
    let mut failed = analysis.matcher.failed_requests().peekable();
    if failed.peek().is_some() {
        writeln!(text, "\n=> Requests that failed in the kernel, by error:")?;
        for (kind, errno, count) in failed {
            writeln!(text, "  {:36}: {count:>10}  {}", kind.name(), named(errno))?;
        }
    }
    let mut unmatched = analysis.matcher.unmatched().peekable();
    if unmatched.peek().is_some() {
        writeln!(text, "\n=> Events that belong to no upcall, by reason:")?;
        for (kind, reason, count) in unmatched {
            writeln!(text, "  {:36}: {count:>10}  {}", kind.name(), reason.text())?;
        }
    }
    Ok(())
}
