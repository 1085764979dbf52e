//! What becomes of the events, live or from a recording: the lines, the analysis, the report, the picture.

use std::io::{self, Write};
use std::ops::ControlFlow;

use ovs_tracers::cli::options::Format;
use ovs_tracers::cost::analysis::{self, Analysis, Counts};
use ovs_tracers::cost::histogram::Scale;
use ovs_tracers::cost::json::Json;
use ovs_tracers::cost::report::{self, Options};
use ovs_tracers::cost::{self, Event, HEADER, Kind, svg};
use ovs_tracers::run::loss::{
    ARGUMENTS_UNREADABLE, LARGER_RING, Lost, Outcome, RING_FULL, Reason, SKIPPED,
};
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::session::{Session, Settings, Step};
use ovs_tracers::run::sink::Sink;
use ovs_tracers::show::message::note;
use ovs_tracers::show::number::number;

use crate::args::Args;

const RING: Reason = Reason {
    what: "events",
    why: RING_FULL,
    hint: LARGER_RING,
};

const fn without_help(why: &'static str) -> Reason {
    Reason {
        what: "events",
        why,
        hint: "",
    }
}

/// `enum cost_lost` of bpf/upcall_cost.h.
pub const LOST: &[Reason; analysis::LOST] = &[
    RING,
    RING,
    RING,
    RING,
    RING,
    RING,
    without_help(ARGUMENTS_UNREADABLE),
    RING,
    without_help("too many threads"),
    without_help("return probes missed"),
    without_help(SKIPPED),
];

/// What goes to standard output.
enum Out {
    Text(Output),
    Json(Json<Output>),
}

impl Out {
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(out) => out.flush(),
            Self::Json(json) => json.flush(),
        }
    }
}

pub struct Account {
    out: Sink<Out>,
    picture: Sink<Output>,
    title: String,
    options: Options,
    show_events: bool,
    analysis: Analysis,
    /// Events still to be taken, of --stop.
    remaining_events: Option<u64>,
    text: String,
    port: String,
    datapath: Vec<u8>,
}

impl Account {
    /// Opens the output files; `files` are those in use already. `start` describes the trace.
    pub fn new(args: &Args, start: &Start, mut files: Files) -> anyhow::Result<(Session, Self)> {
        let recording = args.recording.create(&mut files)?;
        let settings = Settings {
            count: args.trace.count,
            interval: None,
            reasons: LOST,
            status: None,
        };
        let session = Session::new(settings, start, recording)?;
        let picture = match &args.svg {
            None => None,
            Some(path) => Some(files.create(path, args.recording.force)?),
        };
        let show_events = !args.quiet;
        let out = match args.format {
            Format::Text => {
                let mut out = stdout()?;
                if show_events {
                    write!(out, "\n{HEADER}")?;
                }
                Out::Text(out)
            }
            Format::Json => Out::Json(Json::new(stdout()?, start)?),
        };
        files.keep();
        let scale = if args.log {
            Scale::Logarithmic
        } else {
            Scale::Linear(args.histogram_buckets)
        };
        let kernel = start.get("kernel").map(|kernel| format!("Linux {kernel}"));
        let mut title = vec![format!("upcall-cost {}", env!("CARGO_PKG_VERSION"))];
        title.extend(kernel);
        let mut account = Self {
            out: Sink::new("standard output", Some(out)),
            title: title.join(", "),
            options: Options {
                scale,
                sets: args.sets,
            },
            show_events,
            analysis: Analysis::new(
                &args.handler_filter,
                args.slowest as usize,
                picture.is_some(),
            ),
            picture: Sink::new("the picture", picture),
            remaining_events: args.stop.filter(|events| *events > 0),
            text: String::new(),
            port: String::new(),
            datapath: Vec::new(),
        };
        account.analysis.of_kernel = start.get("source") == Some("kernel");
        Ok((session, account))
    }

    /// Takes a step. Breaks when --count or --stop is reached, or an output takes no more.
    pub fn take(&mut self, session: &mut Session, step: Step<'_>) -> ControlFlow<()> {
        match step {
            Step::Record(record) => self.record(session, record),
            Step::Lost(new) => self.lost(session, new),
            Step::Pause => self.out.write(&mut session.failure, Out::flush),
            Step::Ports | Step::Interval(_) => ControlFlow::Continue(()),
        }
    }

    fn record(&mut self, session: &mut Session, record: &[u8]) -> ControlFlow<()> {
        let Ok(mut event) = Event::from_record(record) else {
            self.analysis.counts.undecodable += 1;
            return session.record(record, None);
        };
        let mut datapath = std::mem::take(&mut self.datapath);
        if let Some(number) = event.dp_ifindex {
            datapath.clear();
            if let (Some(ports), _) = session.names(0, number) {
                datapath.extend_from_slice(ports.known_datapath(number).unwrap_or_default());
            }
            event.datapath = &datapath;
            session.record_datapath(0, number)?;
        }
        let flow = self.of_record(session, record, &event);
        self.datapath = datapath;
        flow
    }

    /// Takes the event of a record.
    fn of_record(
        &mut self,
        session: &mut Session,
        record: &[u8],
        event: &Event<'_>,
    ) -> ControlFlow<()> {
        if session.records() {
            let mut port = None;
            // The recording is to have the names of the ports of upcalls that were received.
            if let Some(number) = event.port.filter(|_| event.kind == Kind::RecvUpcall)
                && let Some(name) = session.port_name(0, event.datapath, number)
            {
                self.port.clear();
                self.port.push_str(name);
                port = Some((event.datapath, number, &*self.port));
            }
            session.record(&record[..event.record_len], port)?;
        }
        self.event(session, event)
    }

    /// Takes one event.
    pub fn event(&mut self, session: &mut Session, event: &Event<'_>) -> ControlFlow<()> {
        if !self.analysis.wants(event) {
            return ControlFlow::Continue(());
        }
        self.analysis.event(event);
        if self.show_events {
            let text = &mut self.text;
            self.out.write(&mut session.failure, |out| match out {
                Out::Text(out) => {
                    text.clear();
                    // Writing to a String cannot fail.
                    let _ = cost::line(text, event);
                    out.write_all(text.as_bytes())
                }
                Out::Json(json) => json.event(event),
            })?;
        }
        if event.kind == Kind::RecvUpcall {
            session.count()?;
        }
        if let Some(remaining) = &mut self.remaining_events {
            *remaining -= 1;
            if *remaining == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn lost(&mut self, session: &mut Session, new: &Lost) -> ControlFlow<()> {
        let mut counts = Counts::default();
        counts.add_lost(new.counts());
        self.analysis.counts.add_lost(new.counts());
        self.out.write(&mut session.failure, |out| {
            if let Out::Json(json) = out {
                json.lost(&counts.missed)?;
            }
            out.flush()
        })
    }

    /// Completes the outputs and reports.
    pub fn finish(mut self, mut session: Session) -> anyhow::Result<()> {
        self.analysis.finish();
        let (analysis, options) = (&self.analysis, &self.options);
        self.picture.complete(&mut session.failure, |mut picture| {
            svg::write(&mut picture, analysis, &self.title)?;
            picture.flush()
        });
        let pending = session.pending;
        self.out.complete(&mut session.failure, |out| match out {
            Out::Text(mut out) => {
                report::write(&mut out, analysis, options)?;
                out.flush()
            }
            Out::Json(mut json) => {
                json.report(analysis, options, pending)?;
                json.flush()
            }
        });
        let total = analysis.counts.total.iter();
        let total = total.fold(0u64, |sum, count| sum.saturating_add(*count));
        note(Outcome {
            all: total
                .saturating_add(analysis.counts.undecodable)
                .saturating_add(pending)
                .saturating_add(session.lost().total()),
            things: "events",
            shown: (total, "analysed"),
            parts: &[
                (analysis.counts.undecodable, "undecodable"),
                (pending, "after the last one analysed"),
            ],
            lost: session.lost(),
            tool: session.tool(),
        });
        let failed = match analysis.matcher.failed_in_all() {
            0 => String::new(),
            failed => format!("; {failed} failed in the kernel (never received)"),
        };
        note(format_args!(
            "{} received by ovs-vswitchd: {} put together with the kernel's{failed}",
            number(analysis.stats.received, "upcalls"),
            analysis.stats.sets
        ));
        session.finish()
    }
}
