//! A run that shows events as lines and counts them: everything in it but the events themselves.

use std::fmt;
use std::ops::ControlFlow;

use crate::bpf::record::Head;
use crate::cli::options::{Common, Format};
use crate::run::lines::Lines;
use crate::run::loss::{Outcome, Reason};
use crate::run::output::Files;
use crate::run::recording::Start;
use crate::run::session::{Session, Settings, Step};
use crate::run::sink::Failure;
use crate::show::columns::At;
use crate::show::counts::Counts;
use crate::show::json::Line;
use crate::show::message::note;

/// What a tool says of its events.
pub struct Kind {
    /// "operations", for example.
    pub what: &'static str,
    /// The tag of an event's JSON record.
    pub tag: &'static str,
    /// By which properties they are counted.
    pub properties: &'static [&'static str],
    pub heading: &'static str,
    /// Number of the JSON schema.
    pub schema: u32,
    /// Why some may be lost.
    pub reasons: &'static [Reason],
}

/// The events of a run.
pub struct Events {
    kind: Kind,
    lines: Lines,
    /// Whether the summary at the end is shown.
    summary: bool,
    /// Whether events are only counted.
    quiet: bool,
    shown: u64,
    /// Events that a filter excluded.
    pub filtered: u64,
    /// Records whose bytes make no sense.
    undecodable: u64,
    /// Of the whole run, and of the interval that is not over yet.
    counts: [Counts; 2],
}

impl Events {
    /// Opens the outputs; `files` are those in use already. `start` describes the trace.
    pub fn open(
        kind: Kind,
        options: &Common,
        start: &Start,
        mut files: Files,
    ) -> anyhow::Result<(Session, Self)> {
        let recording = options.recording.create(&mut files)?;
        let quiet = options.summary.quiet;
        let lines = Lines::new(options.format, quiet, kind.heading, kind.schema, start)?;
        let is_live = options.recording.replay.is_none();
        let settings = Settings {
            count: options.trace.count,
            interval: options.summary.interval,
            reasons: kind.reasons,
            status: is_live.then(|| lines.status_line()).flatten(),
        };
        let session = Session::new(settings, start, recording)?;
        files.keep();
        let counts = || Counts::new(kind.what, kind.properties);
        let events = Self {
            counts: [counts(), counts()],
            summary: quiet || options.format == Format::Json,
            quiet,
            lines,
            shown: 0,
            filtered: 0,
            undecodable: 0,
            kind,
        };
        Ok((session, events))
    }

    /// Shows an event, which has these properties, and took so many nanoseconds if that is known.
    pub fn show(
        &mut self,
        failure: &mut Failure,
        (properties, duration): (&[&str], Option<u64>),
        text: impl FnOnce(&mut String) -> fmt::Result,
        json: impl FnOnce(&mut Line),
    ) -> ControlFlow<()> {
        self.shown += 1;
        for counts in &mut self.counts {
            counts.add(properties, duration);
        }
        self.lines.event(failure, self.kind.tag, text, json)
    }

    /// Counts and records a record from which no event can be made.
    pub fn undecodable(&mut self, session: &mut Session, record: &[u8]) -> ControlFlow<()> {
        self.undecodable += 1;
        session.record(record, None)
    }

    /// Takes every step except a record, which the tool takes itself.
    pub fn take(&mut self, session: &mut Session, step: &Step<'_>) -> ControlFlow<()> {
        let failure = &mut session.failure;
        match step {
            Step::Lost(new) => self.lines.lost(failure, new),
            Step::Interval(past) => {
                let report = At(*past, self.counts[1].take(past.elapsed));
                let tag = ("interval", self.kind.what);
                let times = |line: &mut Line| line.times(past.time, past.wall_time);
                self.lines.summary(failure, tag, report, times)
            }
            Step::Pause => {
                session.show_status(self.shown + self.filtered, self.kind.what);
                self.lines.flush(&mut session.failure)
            }
            Step::Ports | Step::Record(_) => ControlFlow::Continue(()),
        }
    }

    /// Completes the outputs and says what became of the events.
    pub fn finish(mut self, mut session: Session) -> anyhow::Result<()> {
        let lost = session.lost().clone();
        let counts = [
            ("shown", self.shown),
            ("filtered", self.filtered),
            ("undecodable", self.undecodable),
            ("pending", session.pending),
        ];
        if self.summary {
            let report = self.counts[0].take(session.elapsed());
            let tag = ("summary", self.kind.what);
            let more = |line: &mut Line| {
                for (name, count) in counts {
                    line.field(name, count);
                }
                line.lost(&lost);
            };
            let _ = self.lines.summary(&mut session.failure, tag, report, more);
        }
        let _ = self.lines.flush(&mut session.failure);
        let recorded = counts
            .iter()
            .fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let verb = match self.quiet {
            true => "counted",
            false => "shown",
        };
        note(Outcome {
            all: recorded.saturating_add(lost.total()),
            things: self.kind.what,
            shown: (self.shown, verb),
            parts: &[
                (self.filtered, "filtered"),
                (self.undecodable, "undecodable"),
                (session.pending, "after the last one shown"),
            ],
            lost: &lost,
            tool: session.tool(),
        });
        session.finish()
    }
}

impl Session {
    /// Records a record with the names of its datapath and of the ports of that, and notes its time. Returns the time
    /// as nanoseconds since 1970.
    pub fn keep(
        &mut self,
        record: &[u8],
        head: &Head<'_>,
        dp_ifindex: u32,
    ) -> ControlFlow<(), u64> {
        self.record_datapath(head.target.into(), dp_ifindex)?;
        self.record(record, None)?;
        self.seen(head.time);
        ControlFlow::Continue(head.time.saturating_add_signed(self.clock()))
    }
}
