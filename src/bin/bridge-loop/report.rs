//! Where lines and figures go, and what is reported of those that are missing.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::anyhow;
use ovs_tracers::bridge_loop::Kind;
use ovs_tracers::bridge_loop::figures::{Figures, LONG, Lost};
use ovs_tracers::bridge_loop::json::Json;
use ovs_tracers::bridge_loop::record::Record;
use ovs_tracers::bridge_loop::stack::Stacks;
use ovs_tracers::bridge_loop::text::{self, human};
use ovs_tracers::cli::options::Format;
use ovs_tracers::cli::{cause, note};
use ovs_tracers::run::output::{Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::trace::tracer;

use crate::args::Args;

pub struct Report {
    out: Output,
    /// The writer of JSON, if that is asked for.
    json: Option<Json>,
    linear: bool,
    stacks: Option<Stacks>,
    /// Lines shown.
    shown: u64,
    reported: Lost,
    failure: Option<io::Error>,
    text: String,
}

impl Report {
    pub fn new(args: &Args, pid: u32) -> io::Result<Self> {
        let mut report = Self {
            out: stdout()?,
            json: (args.format == Format::Json).then(Json::default),
            linear: args.linear,
            stacks: args.stack.then(|| Stacks::new(pid)),
            shown: 0,
            reported: Lost::default(),
            failure: None,
            text: String::new(),
        };
        if let Some(json) = &mut report.json {
            let mut start = Start::new(env!("CARGO_BIN_NAME"));
            start.set("kernel", tracer::kernel_release());
            start.set("pid", pid);
            let result = json.start(&mut report.out, &start);
            let _ = report.check(result);
        }
        Ok(report)
    }

    /// Shows one record of the kernel.
    pub fn line(&mut self, record: &[u8]) -> ControlFlow<()> {
        let Some(record) = Record::from_bytes(record) else {
            return ControlFlow::Continue(());
        };
        self.shown += 1;
        let frames = match &self.stacks {
            Some(stacks) if record.kind == Kind::Run => stacks.frames(&record.stack),
            _ => Vec::new(),
        };
        let result = match &mut self.json {
            Some(json) => json.record(&mut self.out, &record, &frames),
            None => {
                self.text.clear();
                // Writing to a String cannot fail.
                let _ = text::record(&mut self.text, &record, &frames);
                self.out.write_all(self.text.as_bytes())
            }
        };
        self.check(result)
    }

    /// Shows what was counted in the last interval.
    pub fn interval(&mut self, figures: &Figures, elapsed: Duration) -> ControlFlow<()> {
        let result = match &mut self.json {
            Some(json) => json.interval(&mut self.out, figures, elapsed),
            None => {
                self.text.clear();
                // Writing to a String cannot fail.
                let _ = text::interval(&mut self.text, figures, elapsed);
                self.out.write_all(self.text.as_bytes())
            }
        };
        self.check(result)?;
        self.flush()
    }

    /// Reports what is missing until now, if it is more than was reported before.
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

    /// How much of it was reported.
    pub fn reported(&self) -> Lost {
        self.reported
    }

    /// Hands what was written to whoever reads it.
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
        let (shown, linear, reported) = (self.shown, self.linear, self.reported);
        if self.failure.is_none() {
            let out = &mut self.out;
            let result = match &mut self.json {
                Some(json) => json.summary(out, figures, elapsed, shown, reported, linear),
                None => text::summary(out, figures, elapsed, linear),
            };
            let result = result.and_then(|()| self.out.flush());
            let _ = self.check(result);
        }
        let [run, wait] = &figures.kinds;
        note(format_args!(
            "{} runs and {} waits counted, {} begun before and not counted",
            run.count, wait.count, figures.threads
        ));
        let (lines, lost) = (run.lines + wait.lines, reported.lines);
        if lines > 0 {
            note(format_args!("{lines} lines: {shown} shown, {lost} lost"));
        }
        if reported.probes > 0 {
            note(format_args!(
                "{} probes not counted, of too many threads",
                reported.probes
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
}
