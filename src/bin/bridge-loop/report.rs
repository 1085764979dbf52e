//! What is printed: the lines, the figures, what was lost.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};
use ovs_tracers::bpf::bridge_loop::types::loop_record;
use ovs_tracers::cli::options::Format;
use ovs_tracers::cli::{cause, note};
use ovs_tracers::run::output::{Output, stdout};
use ovs_tracers::show::escape::escape;
use ovs_tracers::show::histogram::{self, Histogram, Row};

use crate::args::{Args, Kind};

/// The main loop is said to be in a run if that takes as long as what ovs-vswitchd's log calls an unreasonably long
/// poll interval.
const LONG: u64 = 1_000_000_000;

/// What was counted of one kind.
pub struct Totals {
    pub histogram: Histogram,
    /// Counted in buckets of bridge_loop.bt, if asked for.
    pub linear: Vec<u64>,
    pub count: u64,
    /// How many of them, and of those that had begun before, deserve a line.
    pub lines: u64,
    /// Nanoseconds.
    pub sum: u64,
    pub min: u64,
    pub max: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            histogram: Histogram::new([]),
            linear: Vec::new(),
            count: 0,
            lines: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Totals {
    /// The middle of the bucket, which is no more than 1.6 % off.
    fn quantile(&self, share: f64) -> u64 {
        let middle = |bucket: std::ops::Range<u64>| bucket.start.midpoint(bucket.end);
        let time = self.histogram.quantile(share).map_or(0, middle);
        time.max(self.min).min(self.max)
    }

    fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }
}

/// What was counted.
#[derive(Default)]
pub struct Figures {
    /// In the order of [`Kind::ALL`].
    pub kinds: [Totals; 2],
    /// As many intervals had begun before their thread was first seen.
    pub threads: u64,
    /// Nanoseconds since the beginning of the longest run that has not ended.
    pub running: u64,
}

impl Figures {
    /// What was counted since `before`. The kernel keeps no extremes of a part: they are those of the histogram.
    pub fn since(&self, before: &Self) -> Self {
        let kinds = [0, 1].map(|i| {
            let (now, then) = (&self.kinds[i], &before.kinds[i]);
            let histogram = now.histogram.since(&then.histogram);
            let extreme = |share| histogram.quantile(share);
            let (min, max) = (extreme(0.0), extreme(1.0));
            Totals {
                count: now.count.saturating_sub(then.count),
                lines: now.lines.saturating_sub(then.lines),
                sum: now.sum.saturating_sub(then.sum),
                min: min.map_or(u64::MAX, |bucket| bucket.start.max(now.min)),
                max: max.map_or(0, |bucket| bucket.end.min(now.max)),
                linear: Vec::new(),
                histogram,
            }
        });
        Self {
            kinds,
            threads: self.threads,
            running: self.running,
        }
    }

    /// Nanoseconds of all that was counted.
    pub fn timed(&self) -> u64 {
        self.kinds.iter().map(|totals| totals.sum).sum()
    }

    /// Loops per second, and the percentage of their time that runs took, if anything was timed.
    fn rates(&self, elapsed: Duration) -> (f64, Option<f64>) {
        let run = &self.kinds[0];
        let rate = run.count as f64 / elapsed.as_secs_f64();
        let timed = self.timed();
        let busy = run.sum as f64 * 100.0 / timed as f64;
        (rate, (timed > 0).then_some(busy))
    }
}

/// Counts of what is missing: `enum bridge_loop_lost` of bpf/bridge_loop.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub lines: u64,
    /// Probes of threads that are too many to be timed.
    pub probes: u64,
}

impl Lost {
    pub fn new(counts: &[u64]) -> Self {
        let count = |i| counts.get(i).copied().unwrap_or(0);
        Self {
            lines: count(0),
            probes: count(1),
        }
    }
}

/// One run or wait, as the kernel delivers it.
struct Line<'a> {
    header: loop_record,
    kind: Kind,
    comm: &'a [u8],
    stack: Vec<u64>,
}

impl<'a> Line<'a> {
    /// Reads a `struct loop_record` (bpf/bridge_loop.h); nothing if it is too short for one.
    fn from_record(record: &'a [u8]) -> Option<Self> {
        let stack = record.get(offset_of!(loop_record, stack)..)?;
        // SAFETY: loop_record is a C struct of integers, valid for any bytes; its header was found to be within the
        // slice, its only other field is an array of no elements, and an unaligned read needs no alignment.
        let header = unsafe { record.as_ptr().cast::<loop_record>().read_unaligned() };
        let comm = &record[offset_of!(loop_record, comm)..][..size_of_val(&header.comm)];
        let size = usize::try_from(header.stack_size).unwrap_or(0);
        let frames = stack.get(..size).unwrap_or_default().chunks_exact(8);
        Some(Self {
            kind: *Kind::ALL.get(header.kind as usize)?,
            comm: comm.split(|b| *b == 0).next().unwrap_or_default(),
            stack: frames
                .filter_map(|frame| frame.try_into().ok().map(u64::from_ne_bytes))
                .collect(),
            header,
        })
    }
}

pub struct Report {
    out: Output,
    format: Format,
    linear: bool,
    stack: bool,
    pid: u32,
    symbolizer: Symbolizer,
    /// Lines shown.
    shown: u64,
    reported: Lost,
    failure: Option<io::Error>,
    text: String,
}

impl Report {
    pub fn new(args: &Args, pid: u32) -> io::Result<Self> {
        Ok(Self {
            out: stdout()?,
            format: args.format,
            linear: args.linear,
            stack: args.stack,
            pid,
            symbolizer: Symbolizer::new(),
            shown: 0,
            reported: Lost::default(),
            failure: None,
            text: String::new(),
        })
    }

    /// Shows one record of the kernel.
    pub fn line(&mut self, record: &[u8]) -> ControlFlow<()> {
        let Some(line) = Line::from_record(record) else {
            return ControlFlow::Continue(());
        };
        self.shown += 1;
        let frames = if self.stack && line.kind == Kind::Run {
            self.frames(&line.stack)
        } else {
            Vec::new()
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing to a String cannot fail.
        let _ = match self.format {
            Format::Text => line_text(&mut text, &line, &frames),
            Format::Json => line_json(&mut text, &line, &frames),
        };
        let result = self.out.write_all(text.as_bytes());
        self.text = text;
        self.check(result)
    }

    /// A text for each address of a stack, the innermost first.
    fn frames(&self, stack: &[u64]) -> Vec<String> {
        let mut process = Process::new(self.pid.into());
        process.debug_syms = false;
        process.perf_map = false;
        // All but the innermost return to behind their call, which may be another function.
        let calls = stack.iter().enumerate();
        let calls: Vec<u64> = calls
            .map(|(i, addr)| addr - u64::from(i > 0).min(*addr))
            .collect();
        let source = Source::Process(process);
        let symbols = self.symbolizer.symbolize(&source, Input::AbsAddr(&calls));
        let unmapped =
            |symbol: &Symbolized<'_>| matches!(symbol, Symbolized::Unknown(Reason::Unmapped));
        // Of a process that has exited there are only the addresses.
        let symbols = symbols.ok().filter(|symbols| !symbols.iter().all(unmapped));
        let mut symbols = symbols.unwrap_or_default().into_iter();
        let frame = |(addr, call): (&u64, &u64)| match symbols.next() {
            Some(Symbolized::Sym(symbol)) => {
                let offset = symbol.offset as u64 + (addr - call);
                let module = symbol.module.as_deref().map(Path::new);
                let module = module.and_then(Path::file_name).unwrap_or_default();
                let module = module.to_string_lossy();
                let frame = format!("{}+{offset:#x} ({module})", symbol.name);
                let mut escaped = String::new();
                // Writing to a String cannot fail.
                let _ = escape(&mut escaped, frame.as_bytes());
                Some(escaped)
            }
            // Whoever called has no frame pointer, and what was taken for one leads nowhere.
            Some(Symbolized::Unknown(Reason::Unmapped)) => None,
            _ => Some(format!("{addr:#x}")),
        };
        stack.iter().zip(&calls).map_while(frame).collect()
    }

    /// Shows what was counted in the last interval.
    pub fn interval(&mut self, figures: &Figures, elapsed: Duration) -> ControlFlow<()> {
        let mut text = String::new();
        let (rate, busy) = figures.rates(elapsed);
        // Writing to a String cannot fail.
        let _ = match self.format {
            Format::Text => {
                let _ = write!(text, "= {rate:.1} loops/s");
                if let Some(busy) = busy {
                    let _ = write!(text, ", {busy:.2} % busy");
                }
                for (kind, totals) in Kind::ALL.into_iter().map(name).zip(&figures.kinds) {
                    if totals.count > 0 {
                        let _ = write!(
                            text,
                            "; {kind} p50 {}, p90 {}, p99 {}, max {}",
                            human(totals.quantile(0.5)),
                            human(totals.quantile(0.9)),
                            human(totals.quantile(0.99)),
                            human(totals.max)
                        );
                    }
                }
                if figures.running >= LONG {
                    let _ = write!(text, "; in a run for {}", human(figures.running));
                }
                writeln!(text)
            }
            Format::Json => {
                let _ = figures_json(&mut text, "interval", figures, elapsed);
                writeln!(text, "}}")
            }
        };
        let result = self.out.write_all(text.as_bytes());
        self.check(result)?;
        self.flush()
    }

    /// Tells what is missing until now, if it is more than was told before.
    pub fn lost(&mut self, lost: Lost) {
        let new = lost.lines.saturating_sub(self.reported.lines);
        if new > 0 {
            note(format_args!(
                "warning: {new} lines lost (ring full), though counted; --threshold makes less, a larger \
                 --buffer-page-count helps"
            ));
        }
        let new = lost.probes.saturating_sub(self.reported.probes);
        if new > 0 {
            note(format_args!(
                "warning: {new} probes not counted, of too many threads"
            ));
        }
        self.reported = lost;
    }

    /// How much of it was told.
    pub fn reported(&self) -> Lost {
        self.reported
    }

    /// Lets a reader see what there is.
    pub fn flush(&mut self) -> ControlFlow<()> {
        let result = self.out.flush();
        self.check(result)
    }

    fn check(&mut self, result: io::Result<()>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Shows what was counted in all, and says what became of the lines. A reader that went away is no failure.
    pub fn finish(mut self, figures: &Figures, elapsed: Duration) -> anyhow::Result<()> {
        if self.failure.is_none() {
            let result = match self.format {
                Format::Text => self.summary(figures, elapsed),
                Format::Json => self.summary_json(figures, elapsed),
            };
            let result = result.and_then(|()| self.out.flush());
            let _ = self.check(result);
        }
        let [run, wait] = &figures.kinds;
        note(format_args!(
            "{} runs and {} waits counted, {} begun before and not counted",
            run.count, wait.count, figures.threads
        ));
        let (lines, lost) = (run.lines + wait.lines, self.reported.lines);
        let shown = self.shown;
        if lines > 0 {
            note(format_args!("{lines} lines: {shown} shown, {lost} lost"));
        }
        if self.reported.probes > 0 {
            let probes = self.reported.probes;
            note(format_args!(
                "{probes} probes not counted, of too many threads"
            ));
        }
        if figures.threads == 0 {
            note("no probe fired: the main loop neither began nor ended a run");
        } else if figures.running >= LONG {
            note(format_args!(
                "in a run for {} when it ended",
                human(figures.running)
            ));
        }
        match self.failure {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(anyhow!(
                "failed to write standard output: {}\nwhat was written before can be read",
                cause(&error)
            )),
            _ => Ok(()),
        }
    }

    /// The buckets that are not empty: the least nanoseconds in it, the first that are not, the count.
    fn buckets(&self, totals: &Totals, kind: Kind) -> Vec<(u64, Option<u64>, u64)> {
        if !self.linear {
            let buckets = totals.histogram.buckets();
            return buckets
                .map(|(low, end, count)| (low, Some(end), count))
                .collect();
        }
        let step = linear_step(kind) * 1000;
        let last = totals.linear.len().saturating_sub(1);
        let counts = totals.linear.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(i, count)| {
                let low = i as u64 * step;
                (low, (i < last).then_some(low + step), *count)
            })
            .collect()
    }

    fn rows(&self, totals: &Totals, kind: Kind) -> Vec<Row> {
        if self.linear {
            histogram::linear_rows(&totals.linear, linear_step(kind))
        } else {
            totals.histogram.rows()
        }
    }

    fn summary(&mut self, figures: &Figures, elapsed: Duration) -> io::Result<()> {
        let [runs, waits] = [0, 1].map(|i| self.rows(&figures.kinds[i], Kind::ALL[i]));
        let out = &mut self.out;
        writeln!(out, "\nTimes in microseconds:\n")?;
        histogram::print(out, "bridge_run_time", &runs)?;
        histogram::print(out, "poll_block_wait_time", &waits)?;
        writeln!(
            out,
            "{:<4} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
            "", "COUNT", "TOTAL", "MEAN", "MIN", "P50", "P90", "P99", "MAX"
        )?;
        for (kind, totals) in Kind::ALL.into_iter().map(name).zip(&figures.kinds) {
            write!(out, "{kind:<4} {:>10}", totals.count)?;
            if totals.count > 0 {
                for time in [
                    totals.sum,
                    totals.mean(),
                    totals.min,
                    totals.quantile(0.5),
                    totals.quantile(0.9),
                    totals.quantile(0.99),
                    totals.max,
                ] {
                    write!(out, " {:>12}", human(time))?;
                }
            }
            writeln!(out)?;
        }
        let (rate, busy) = figures.rates(elapsed);
        let seconds = elapsed.as_secs_f64();
        write!(out, "{rate:.1} loops/s in {seconds:.1} s")?;
        match busy {
            Some(busy) => writeln!(out, ", {busy:.2} % busy"),
            None => writeln!(out),
        }
    }

    fn summary_json(&mut self, figures: &Figures, elapsed: Duration) -> io::Result<()> {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = figures_json(&mut text, "summary", figures, elapsed);
        let _ = write!(
            text,
            ",\"begun_before\":{},\"lines_shown\":{},\"lines_lost\":{},\"probes_not_counted\":{}",
            figures.threads, self.shown, self.reported.lines, self.reported.probes
        );
        for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
            let rows: Vec<String> = self
                .buckets(totals, kind)
                .iter()
                .map(|(low, end, count)| match end {
                    Some(end) => format!("[{low},{end},{count}]"),
                    None => format!("[{low},null,{count}]"),
                })
                .collect();
            let _ = write!(
                text,
                ",\"{}_histogram_ns\":[{}]",
                name(kind),
                rows.join(",")
            );
        }
        text.push_str("}\n");
        self.out.write_all(text.as_bytes())
    }
}

/// Microseconds of a bucket of bridge_loop.bt.
fn linear_step(kind: Kind) -> u64 {
    match kind {
        Kind::Run => 1000,
        Kind::Wait => 30_000,
    }
}

/// `h:mm:ss.nanoseconds`
fn clock(text: &mut String, ns: u64) -> fmt::Result {
    let seconds = ns / 1_000_000_000;
    write!(
        text,
        "{}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ns % 1_000_000_000
    )
}

fn line_text(text: &mut String, line: &Line<'_>, frames: &[String]) -> fmt::Result {
    write!(text, "- [{}@", line.header.tid)?;
    escape(text, line.comm)?;
    text.push_str(match line.kind {
        Kind::Run => "] bridge run loop time  : ",
        Kind::Wait => "] poll_block() wait time: ",
    });
    if line.header.unseen != 0 {
        text.push_str("at least ");
    }
    clock(text, line.header.duration)?;
    if line.header.unseen != 0 {
        text.push_str(" (begun before, not counted)");
    }
    text.push('\n');
    if !frames.is_empty() {
        text.push_str(match line.header.stack_at_end {
            0 => "    past the threshold it was in\n",
            _ => "    not seen past the threshold; at the end of the run it was in\n",
        });
        for frame in frames {
            writeln!(text, "      {frame}")?;
        }
    }
    Ok(())
}

fn line_json(text: &mut String, line: &Line<'_>, frames: &[String]) -> fmt::Result {
    let header = &line.header;
    let kind = name(line.kind);
    write!(
        text,
        "{{\"record\":\"{kind}\",\"end_ns\":{},\"duration_ns\":{},\"begun_before\":{},\"pid\":{},\"tid\":{},\"comm\":",
        header.end,
        header.duration,
        header.unseen != 0,
        header.pid,
        header.tid
    )?;
    quote(text, &String::from_utf8_lossy(line.comm))?;
    if !frames.is_empty() {
        let at = if header.stack_at_end == 0 {
            "threshold"
        } else {
            "end"
        };
        write!(text, ",\"stack_at\":\"{at}\",\"stack\":[")?;
        for (i, frame) in frames.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            quote(text, frame)?;
        }
        text.push(']');
    }
    text.push_str("}\n");
    Ok(())
}

/// The figures as an object that is not closed yet.
fn figures_json(
    text: &mut String,
    what: &str,
    figures: &Figures,
    elapsed: Duration,
) -> fmt::Result {
    let (rate, busy) = figures.rates(elapsed);
    let busy = busy.map_or("null".to_string(), |busy| format!("{busy:.4}"));
    let seconds = elapsed.as_secs_f64();
    write!(
        text,
        "{{\"record\":\"{what}\",\"seconds\":{seconds:.6},\"loops_per_second\":{rate:.3},\"busy_percent\":{busy},\
         \"in_run_ns\":{}",
        figures.running
    )?;
    for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
        let (kind, count) = (name(kind), totals.count);
        write!(
            text,
            ",\"{kind}\":{{\"count\":{count},\"sum_ns\":{}",
            totals.sum
        )?;
        if count > 0 {
            write!(
                text,
                ",\"min_ns\":{},\"p50_ns\":{},\"p90_ns\":{},\"p99_ns\":{},\"max_ns\":{}",
                totals.min,
                totals.quantile(0.5),
                totals.quantile(0.9),
                totals.quantile(0.99),
                totals.max
            )?;
        }
        text.push('}');
    }
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "run",
        Kind::Wait => "wait",
    }
}

/// Appends a JSON string.
fn quote(text: &mut String, value: &str) -> fmt::Result {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => write!(text, "\\u{:04x}", u32::from(c))?,
            c => text.push(c),
        }
    }
    text.push('"');
    Ok(())
}

/// A time in the unit that suits it.
fn human(ns: u64) -> String {
    let time = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.2} us", time / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", time / 1e6),
        _ => format!("{:.3} s", time / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as bpf/bridge_loop.bpf.c writes it.
    fn record(kind: u32, unseen: u32, duration: u64, comm: &[u8; 16], stack: &[u64]) -> Vec<u8> {
        let mut record = Vec::new();
        for word in [5_000_000_000, duration] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [41, 42, kind, unseen, stack.len() as u32 * 8, 0] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(comm);
        record.extend(stack.iter().flat_map(|frame| frame.to_ne_bytes()));
        record
    }

    /// Check that a line is that of bridge_loop.bt, that a name cannot break it, and that JSON says the same.
    #[test]
    fn lines() {
        let odd = b"a\"\n\\\xff\0garbage...";
        let record = record(0, 0, 3_723_000_209_759, odd, &[0x10, 0x20]);
        let line = Line::from_record(&record).unwrap();
        assert_eq!(line.stack, [0x10, 0x20]);
        let (mut text, mut json) = (String::new(), String::new());
        line_text(&mut text, &line, &["f+0x1 (x)".to_string()]).unwrap();
        line_json(&mut json, &line, &["f+0x1 (x)".to_string()]).unwrap();
        assert_eq!(
            text,
            "- [42@a\"\\n\\\\xff] bridge run loop time  : 1:02:03.000209759\n    \
             past the threshold it was in\n      f+0x1 (x)\n"
        );
        assert_eq!(
            json,
            "{\"record\":\"run\",\"end_ns\":5000000000,\"duration_ns\":3723000209759,\"begun_before\":false,\
             \"pid\":41,\"tid\":42,\"comm\":\"a\\\"\\u000a\\\\\u{fffd}\",\"stack_at\":\"threshold\",\
             \"stack\":[\"f+0x1 (x)\"]}\n"
        );
    }

    /// Check that what began before is said to have, and that a record of any length is no cause for a panic.
    #[test]
    fn partial() {
        let record = record(1, 1, 7, b"ovs-vswitchd\0\0\0\0", &[1, 2]);
        let mut text = String::new();
        line_text(&mut text, &Line::from_record(&record).unwrap(), &[]).unwrap();
        assert_eq!(
            text,
            "- [42@ovs-vswitchd] poll_block() wait time: at least 0:00:00.000000007 (begun before, not counted)\n"
        );
        for len in 0..record.len() {
            let line = Line::from_record(&record[..len]);
            assert_eq!(line.is_some(), len >= offset_of!(loop_record, stack));
            assert!(line.is_none_or(|line| line.stack.is_empty()));
        }
    }
}
