//! Where lines and figures go.

use std::io::{self, Write};
use std::time::Duration;

use ovs_tracers::bridge_loop::Kind;
use ovs_tracers::bridge_loop::figures::{Figures, LONG};
use ovs_tracers::bridge_loop::json::Json;
use ovs_tracers::bridge_loop::record::Record;
use ovs_tracers::bridge_loop::stack::Stacks;
use ovs_tracers::bridge_loop::text;
use ovs_tracers::cli::options::Format;
use ovs_tracers::run::loss::Lost;
use ovs_tracers::run::output::{Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::show::histogram::human;
use ovs_tracers::show::message::note;

use crate::args::Args;

/// Standard output.
pub struct Report {
    out: Output,
    /// The writer of JSON, if that is asked for.
    json: Option<Json>,
    linear: bool,
    stacks: Option<Stacks>,
    text: String,
}

impl Report {
    /// Writes the start record of JSON; `start` describes the trace of process `pid`.
    pub fn new(args: &Args, start: &Start, pid: u32) -> io::Result<Self> {
        let mut report = Self {
            out: stdout()?,
            json: (args.format == Format::Json).then(Json::default),
            linear: args.linear,
            stacks: args.stack.then(|| Stacks::new(pid)),
            text: String::new(),
        };
        if let Some(json) = &mut report.json {
            json.start(&mut report.out, start)?;
        }
        Ok(report)
    }

    /// Shows one record of the kernel; false if its bytes make no sense.
    pub fn line(&mut self, record: &[u8]) -> io::Result<bool> {
        let Some(record) = Record::from_bytes(record) else {
            return Ok(false);
        };
        let frames = match &self.stacks {
            Some(stacks) if record.kind == Kind::Run => stacks.frames(&record.stack),
            _ => Vec::new(),
        };
        match &mut self.json {
            Some(json) => json.record(&mut self.out, &record, &frames)?,
            None => {
                self.text.clear();
                // Writing to a String cannot fail.
                let _ = text::record(&mut self.text, &record, &frames);
                self.out.write_all(self.text.as_bytes())?;
            }
        }
        Ok(true)
    }

    /// Shows what was counted in the last interval.
    pub fn interval(&mut self, figures: &Figures, elapsed: Duration) -> io::Result<()> {
        match &mut self.json {
            Some(json) => json.interval(&mut self.out, figures, elapsed)?,
            None => {
                self.text.clear();
                // Writing to a String cannot fail.
                let _ = text::interval(&mut self.text, figures, elapsed);
                self.out.write_all(self.text.as_bytes())?;
            }
        }
        self.flush()
    }

    /// Hands what was written to whoever reads it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Shows what was counted in all.
    pub fn finish(
        mut self,
        figures: &Figures,
        elapsed: Duration,
        shown: u64,
        lost: &Lost,
    ) -> io::Result<()> {
        let (out, linear) = (&mut self.out, self.linear);
        match &mut self.json {
            Some(json) => json.summary(out, figures, elapsed, shown, lost, linear)?,
            None => text::summary(out, figures, elapsed, linear)?,
        }
        self.flush()
    }
}

/// Says what became of the lines, and what the figures are of.
pub fn end(figures: &Figures, shown: u64, lost: &Lost) {
    let [run, wait] = &figures.kinds;
    note(format_args!(
        "{} runs and {} waits counted, {} begun before and not counted",
        run.count, wait.count, figures.threads
    ));
    let lines = run.lines + wait.lines;
    if lines > 0 {
        let lost = lost.total_of("lines");
        note(format_args!("{lines} lines: {shown} shown, {lost} lost"));
    }
    let probes = lost.total_of("probes");
    if probes > 0 {
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
}
