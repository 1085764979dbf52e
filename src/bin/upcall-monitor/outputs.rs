//! Where upcalls are written to: the table or JSON, and the capture.

use std::fmt::Display;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anstream::{AutoStream, ColorChoice};
use ovs_tracers::cli::options::Format;
use ovs_tracers::ovs::packet::Link;
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::loss::Lost;
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::sink::{Failure, Sink};
use ovs_tracers::show::columns::At;
use ovs_tracers::show::message::{StatusLine, erase_status, note};
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::flows::Report;
use ovs_tracers::upcall::json::Json;
use ovs_tracers::upcall::summary::Summary;
use ovs_tracers::upcall::text::{PacketDecode, Table};

use crate::args::Args;
use crate::capture::Capture;

/// An output that is not asked for is closed. As with tcpdump, standard output is either text or a capture.
pub struct Outputs {
    table: Sink<Table<Output>>,
    json: Sink<Json<Output>>,
    capture: Sink<Capture>,
    /// Standard output, if only summaries go there.
    summary: Sink<Output>,
    /// Whether JSON has a line for each upcall.
    show_events: bool,
    /// Whether table or capture ask what a packet begins with.
    show_packets: bool,
    files: Files,
}

/// An upcall, with what is known of it besides its record.
pub struct Row<'a> {
    pub upcall: &'a Upcall<'a>,
    /// The name of its port, if it is known.
    pub name: Option<&'a str>,
    /// The name, or the number.
    pub port: &'a str,
    /// The names of the daemon's ports.
    pub ports: Option<&'a PortNames>,
    /// The process id of the daemon.
    pub daemon: Option<u32>,
    /// What stands for the datapath's name in the table and the capture, if that is not enough.
    pub datapath: Option<&'a [u8]>,
    /// The flow key in the form that was asked for.
    pub key: &'a str,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What was lost until now.
    pub lost: &'a Lost,
}

impl Outputs {
    /// Opens them; `files` are those in use already. `start` describes the trace.
    pub fn open(args: &Args, start: &Start, mut files: Files) -> anyhow::Result<Self> {
        let capture = Capture::open(args, start, &mut files)?;
        let (mut table, mut json, mut summary) = (None, None, None);
        match (&args.pcap, args.format) {
            (Some(path), _) if path == Path::new("-") => {}
            (_, Format::Text) if args.summary.quiet => summary = Some(stdout()?),
            (_, Format::Text) => {
                table = Some(Table::new(
                    stdout()?,
                    args.packet_decode,
                    capture.is_some(),
                    AutoStream::choice(&io::stdout()) != ColorChoice::Never,
                )?);
            }
            (_, Format::Json) => json = Some(Json::new(stdout()?, args.packet_decode, start)?),
        }
        files.keep();
        Ok(Self {
            table: Sink::new("standard output", table),
            json: Sink::new("standard output", json),
            capture: Sink::new("the capture", capture),
            summary: Sink::new("standard output", summary),
            show_events: !args.summary.quiet,
            show_packets: args.pcap.is_some() || args.packet_decode != PacketDecode::None,
            files,
        })
    }

    /// A status line on the terminal, unless it would disturb these outputs.
    pub fn status_line(&self) -> Option<StatusLine> {
        StatusLine::new(self.summary.is_open())
    }

    pub fn upcall(&mut self, failure: &mut Failure, row: &Row<'_>) -> ControlFlow<()> {
        if self.show_events {
            self.json.write(failure, |json| {
                let port_name =
                    |number| Some(row.ports?.known(row.upcall.datapath, number)?.to_string());
                json.event(row.upcall, row.name, row.daemon, port_name, row.time)
            })?;
        }
        let labelled = row.datapath.map(|datapath| Upcall {
            datapath,
            ..*row.upcall
        });
        let upcall = labelled.as_ref().unwrap_or(row.upcall);
        // Once for both, and not if none asks.
        let link = match self.show_packets {
            true => upcall.link(),
            false => Link::Unknown,
        };
        self.table.write(failure, |table| {
            table.upcall(upcall, link, row.port, row.key)
        })?;
        let files = &mut self.files;
        self.capture
            .write(failure, |capture| capture.write(upcall, link, row, files))
    }

    /// Says that upcalls are missing here. It flushes, so that whoever also sees standard error sees both in order.
    pub fn lost(&mut self, failure: &mut Failure, new: &Lost) -> ControlFlow<()> {
        self.table.write(failure, Table::flush)?;
        self.json.write(failure, |json| {
            json.lost(new)?;
            json.flush()
        })
    }

    /// Shows who caused the upcalls of an interval.
    pub fn interval(&mut self, failure: &mut Failure, report: &At<Report>) -> ControlFlow<()> {
        if self.json.is_open() {
            return self.json.write(failure, |json| json.interval(report));
        }
        self.report(failure, report)
    }

    fn report(&mut self, failure: &mut Failure, report: impl Display) -> ControlFlow<()> {
        if self.summary.is_open() {
            erase_status();
            return self.summary.write(failure, |out| {
                writeln!(out, "{report}")?;
                out.flush()
            });
        }
        // So that whoever sees both sees them in the order of events.
        self.table.write(failure, Table::flush)?;
        note(report);
        ControlFlow::Continue(())
    }

    /// Flushes what was written, so that readers see it.
    pub fn flush(&mut self, failure: &mut Failure) -> ControlFlow<()> {
        self.table.write(failure, Table::flush)?;
        self.json.write(failure, Json::flush)?;
        self.capture.write(failure, Capture::flush)
    }

    /// Completes them, with who caused the upcalls if that is asked for.
    pub fn finish(mut self, failure: &mut Failure, summary: &Summary, report: Option<&Report>) {
        if let Some(report) = report
            && !self.json.is_open()
        {
            let _ = self.report(failure, report);
        }
        self.table.complete(failure, |mut table| table.flush());
        self.summary.complete(failure, |mut out| out.flush());
        self.json.complete(failure, |mut json| {
            json.summary(summary, report)?;
            json.flush()
        });
        let lost = summary.lost.total();
        self.capture
            .complete(failure, |capture| capture.finish(lost));
    }
}
