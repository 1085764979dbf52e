//! What becomes of the operations, live or from a recording: filters, names, outputs, counts.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use ovs_tracers::cli::options::Format;
use ovs_tracers::cli::{StatusLine, erase_status, note};
use ovs_tracers::dpif_ops::event::{LOST, Op};
use ovs_tracers::dpif_ops::json::{Json, Totals};
use ovs_tracers::dpif_ops::summary::Counts;
use ovs_tracers::dpif_ops::text::{Row, Table};
use ovs_tracers::ovs::flow_request::Request;
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::session::{Session, Settings, Step};
use ovs_tracers::run::sink::Sink;

use crate::args::Args;

pub struct Ops<'a> {
    args: &'a Args,
    table: Sink<Table<Output>>,
    json: Sink<Json<Output>>,
    /// Standard output, if only summaries go there.
    quiet: Sink<Output>,
    pub totals: Totals,
    counts: Counts,
    /// Of the interval that is not over yet.
    recent: Counts,
    started: Instant,
    /// Times of the first and the last operation.
    times: Option<(u64, u64)>,
}

impl<'a> Ops<'a> {
    /// Opens the outputs; `files` are those in use already. `start` describes the trace.
    pub fn new(args: &'a Args, start: &Start, mut files: Files) -> anyhow::Result<(Session, Self)> {
        let recording = match &args.recording.record {
            None => None,
            Some(path) => Some(files.create(path, args.recording.force)?),
        };
        let (mut table, mut json, mut quiet) = (None, None, None);
        match args.format {
            Format::Json => json = Some(Json::new(stdout()?, start)?),
            Format::Text if args.summary.quiet => quiet = Some(stdout()?),
            Format::Text => table = Some(Table::new(stdout()?, args.nlmsg_decode)?),
        }
        let settings = Settings {
            count: args.trace.count,
            interval: args.summary.interval,
            reasons: LOST,
            status: match args.recording.replay {
                Some(_) => None,
                None => StatusLine::new(quiet.is_some()),
            },
        };
        let session = Session::new(settings, start, recording)?;
        files.keep();
        let ops = Self {
            args,
            table: Sink::new("standard output", table),
            json: Sink::new("standard output", json),
            quiet: Sink::new("standard output", quiet),
            totals: Totals::default(),
            counts: Counts::default(),
            recent: Counts::default(),
            started: Instant::now(),
            times: None,
        };
        Ok((session, ops))
    }

    /// Takes a step.
    pub fn take(&mut self, session: &mut Session, step: Step<'_>) -> ControlFlow<()> {
        let failure = &mut session.failure;
        match step {
            Step::Record(record) => self.record(session, record),
            Step::Lost(new) => {
                self.table.write(failure, Table::flush)?;
                self.json.write(failure, |json| json.lost(new))
            }
            Step::Interval(elapsed) => {
                let report = std::mem::take(&mut self.recent).report(elapsed);
                if self.json.is_open() {
                    return self.json.write(failure, |json| json.interval(&report));
                }
                if self.quiet.is_open() {
                    erase_status();
                    return self.quiet.write(failure, |out| writeln!(out, "{report}"));
                }
                self.table.write(failure, Table::flush)?;
                note(report);
                ControlFlow::Continue(())
            }
            Step::Pause => {
                self.table.write(failure, Table::flush)?;
                self.json.write(failure, Json::flush)?;
                self.quiet.write(failure, Output::flush)?;
                session.show_status(self.totals.shown + self.totals.filtered, "operations");
                ControlFlow::Continue(())
            }
            Step::Ports => ControlFlow::Continue(()),
        }
    }

    fn record(&mut self, session: &mut Session, record: &[u8]) -> ControlFlow<()> {
        let Some(op) = Op::from_record(record) else {
            self.totals.undecodable += 1;
            return session.record(record, None);
        };
        if !self.args.has(op.operation) || !self.args.has_thread(op.tid, op.comm) {
            self.totals.filtered += 1;
            return ControlFlow::Continue(());
        }
        let request = Request::parse(op.operation, op.request.bytes).ok();
        let number = request
            .as_ref()
            .map(|request| request.headers.dp_ifindex.get());
        let ifindex = number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0);
        session.record_datapath(0, ifindex)?;
        session.record(&record[..op.record_len], None)?;
        let wall_time = op.time.saturating_add_signed(session.clock());
        let (ports, failure) = session.names(0, ifindex);
        let row = Row {
            op: &op,
            request: request.as_ref(),
            datapath: ports.and_then(|ports| ports.known_datapath(ifindex)),
            ports,
            wall_time,
        };
        self.totals.shown += 1;
        self.counts.add(&row);
        if self.args.summary.interval.is_some() {
            self.recent.add(&row);
        }
        let (first, last) = self.times.unwrap_or((op.time, op.time));
        self.times = Some((first.min(op.time), last.max(op.time)));
        if !self.args.summary.quiet {
            self.table.write(failure, |table| table.row(&row))?;
            self.json.write(failure, |json| json.row(&row))?;
        }
        session.count()
    }

    /// Completes the outputs and says what became of the operations.
    pub fn finish(mut self, mut session: Session) -> anyhow::Result<()> {
        self.totals.pending = session.pending;
        let elapsed = match (&self.args.recording.replay, self.times) {
            (Some(_), times) => {
                let (first, last) = times.unwrap_or_default();
                std::time::Duration::from_nanos(last - first)
            }
            (None, _) => self.started.elapsed(),
        };
        let (report, totals, lost) = (
            self.counts.report(elapsed),
            self.totals,
            session.lost().clone(),
        );
        let failure = &mut session.failure;
        self.table.complete(failure, |mut table| table.flush());
        self.quiet.complete(failure, |mut out| {
            writeln!(out, "{report}")?;
            out.flush()
        });
        self.json.complete(failure, |mut json| {
            json.summary(&totals, &lost, &report)?;
            json.flush()
        });
        let Totals {
            shown,
            filtered,
            undecodable,
            pending,
        } = totals;
        let fired = shown + filtered + undecodable + pending + lost.total();
        let mut parts = vec![format!("{shown} shown")];
        for (count, what) in [
            (filtered, "filtered"),
            (undecodable, "undecodable"),
            (pending, "after the last one shown"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.push(format!("{} lost", lost.total()));
        note(format_args!(
            "{fired} operations fired: {}",
            parts.join(", ")
        ));
        session.finish()
    }
}
