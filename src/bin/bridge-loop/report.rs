//! Where lines and figures go.

use std::io::{self, Write};
use std::time::Duration;

use ovs_tracers::bridge_loop::figures::{Figures, LONG};
use ovs_tracers::bridge_loop::held::Held;
use ovs_tracers::bridge_loop::json::Json;
use ovs_tracers::bridge_loop::kernel_stack::KernelSymbols;
use ovs_tracers::bridge_loop::record::Record;
use ovs_tracers::bridge_loop::stack::Stacks;
use ovs_tracers::bridge_loop::text;
use ovs_tracers::bridge_loop::{Group, Kind};
use ovs_tracers::cli::options::Format;
use ovs_tracers::run::loss::{Lost, SKIPPED};
use ovs_tracers::run::output::{Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::session::Past;
use ovs_tracers::show::histogram::human;
use ovs_tracers::show::message::note;
use ovs_tracers::show::number::number;

use crate::args::Args;

/// Standard output.
pub struct Report {
    out: Output,
    /// The writer of JSON, if that is asked for.
    json: Option<Json>,
    linear: bool,
    stacks: Option<Stacks>,
    /// The functions of the kernel, if they are needed.
    symbols: Option<KernelSymbols>,
    /// Whether the kernel is the source.
    grouped: bool,
    text: String,
}

impl Report {
    /// Writes the start record of JSON; `start` describes the trace of process `pid`. `symbols` are those of the
    /// kernel, if what holds runs up is found out, and `grouped` says whether the kernel is the source.
    pub fn new(
        args: &Args,
        start: &Start,
        pid: u32,
        symbols: Option<KernelSymbols>,
        grouped: bool,
    ) -> io::Result<Self> {
        let mut report = Self {
            out: stdout()?,
            json: (args.format == Format::Json).then(Json::default),
            linear: args.linear,
            stacks: args.stack.then(|| Stacks::new(pid)),
            symbols,
            grouped,
            text: String::new(),
        };
        if let Some(json) = &mut report.json {
            json.start(&mut report.out, start)?;
        }
        Ok(report)
    }

    /// Shows one record of the kernel; false if it is not that of a line.
    pub fn line(&mut self, record: &[u8]) -> io::Result<bool> {
        if self
            .stacks
            .as_mut()
            .is_some_and(|stacks| stacks.take(record))
        {
            return Ok(false);
        }
        let Some(record) = Record::from_bytes(record) else {
            return Ok(false);
        };
        let stack = match &mut self.stacks {
            Some(stacks) if record.kind == Kind::Run => stacks.of(&record),
            _ => None,
        };
        let stack = stack.as_ref();
        let held = match (&record.held, &self.symbols) {
            (Some(held), Some(symbols)) => Some(Held::new(held, record.header.duration, symbols)),
            _ => None,
        };
        let held = held.as_ref();
        match &mut self.json {
            Some(json) => json.record(&mut self.out, &record, self.grouped, held, stack)?,
            None => {
                self.text.clear();
                // Writing to a String cannot fail.
                let _ = text::record(&mut self.text, &record, held, stack);
                self.out.write_all(self.text.as_bytes())?;
            }
        }
        Ok(true)
    }

    /// Shows what was counted of each group in the last interval.
    pub fn interval(&mut self, groups: &[(Group, Figures)], past: Past) -> io::Result<()> {
        for (group, figures) in groups {
            match &mut self.json {
                Some(json) => {
                    let group = self.grouped.then_some(*group);
                    json.interval(&mut self.out, group, figures, past)?;
                }
                None => {
                    self.text.clear();
                    let group = (groups.len() > 1).then_some(*group);
                    // Writing to a String cannot fail.
                    let _ = text::interval(&mut self.text, group, figures, past);
                    self.out.write_all(self.text.as_bytes())?;
                }
            }
        }
        self.flush()
    }

    /// Hands what was written to whoever reads it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Shows what was counted of each group in all, in the time that goes with it.
    pub fn finish(
        mut self,
        groups: &[(Group, Figures)],
        elapsed: impl Fn(&Figures) -> Duration,
        shown: u64,
        lost: &Lost,
    ) -> io::Result<()> {
        let (out, linear) = (&mut self.out, self.linear);
        for (group, figures) in groups {
            let elapsed = elapsed(figures);
            match &mut self.json {
                Some(json) => {
                    let group = self.grouped.then_some(*group);
                    json.summary(out, group, figures, elapsed, shown, lost, linear)?;
                }
                None => {
                    let group = (groups.len() > 1).then_some(*group);
                    text::summary(out, group, figures, elapsed, linear)?;
                }
            }
        }
        self.flush()
    }
}

/// Says what became of the lines, and what the figures are of. `grouped` says whether the
/// kernel is the source.
pub fn end(groups: &[(Group, Figures)], shown: u64, lost: &Lost, grouped: bool) {
    let sum = |count: &dyn Fn(&Figures) -> u64| -> u64 {
        groups.iter().map(|(_, figures)| count(figures)).sum()
    };
    let threads = sum(&|figures| figures.threads);
    note(format_args!(
        "{} and {} counted, {threads} begun before and not counted",
        number(sum(&|figures| figures.kinds[0].count), "runs"),
        number(sum(&|figures| figures.kinds[1].count), "waits"),
    ));
    let lines = sum(&|figures| figures.kinds.iter().map(|totals| totals.lines).sum());
    if lines > 0 {
        let lost = lost.total_of("lines");
        let after = match lines.saturating_sub(shown + lost) {
            0 => String::new(),
            after => format!(", {after} after the last one shown"),
        };
        note(format_args!(
            "{} in all: {shown} shown{after}, {lost} lost by bridge-loop",
            number(lines, "lines")
        ));
    }
    for (reason, count) in lost.by_reason() {
        if count > 0 && reason.what == "probes" {
            let why = match reason.why {
                SKIPPED => SKIPPED,
                _ => "of too many threads",
            };
            note(format_args!(
                "{} not counted, {why}",
                number(count, "probes")
            ));
        }
    }
    let running = groups.iter().map(|(_, figures)| figures.running).max();
    let running = running.unwrap_or(0);
    if threads == 0 && grouped {
        note("no thread that was asked for called poll(), or returned from it");
    } else if threads == 0 {
        note("no probe fired: the main loop neither began nor ended a run");
    } else if running >= LONG {
        note(format_args!(
            "in a run for {} when it ended",
            human(running)
        ));
    }
}
