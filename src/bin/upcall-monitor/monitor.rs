//! Where every upcall goes, live or from a recording: the table or JSON, the capture file, a recording, the summary.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use anyhow::anyhow;
use ovs_tracers::cli::options::Format;
use ovs_tracers::cli::{StatusLine, cause, erase_status, note};
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::{self, Start};
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::flows::{Flow, Flows, Names, Report};
use ovs_tracers::upcall::json::Json;
use ovs_tracers::upcall::packet_filter::Filter;
use ovs_tracers::upcall::summary::{Lost, Summary};
use ovs_tracers::upcall::text::{KeyDecode, Table, key_lines};

use crate::args::{Args, Filters};
use crate::capture::Capture;

pub struct Monitor {
    /// The packet filter, unless the program in the kernel applies it.
    filter: Option<Filter>,
    /// Upcalls that it kept back, and of which less is there than it looks at in some packets.
    cut: u64,
    /// Upcalls that the program in the kernel kept back, since it could not see what it looks at.
    unknown: u64,
    key_decode: KeyDecode,
    table: Sink<Table<Output>>,
    json: Sink<Json<Output>>,
    capture: Sink<Capture>,
    files: Files,
    recording: Sink<Recording>,
    /// Who causes the upcalls, if that is to be told.
    talkers: Option<Talkers>,
    /// Where it is told: standard output, if the upcalls themselves are not shown there.
    quiet: Sink<Output>,
    /// Whether JSON has a line for each upcall.
    show_events: bool,
    /// The traced daemons.
    daemons: Vec<u32>,
    /// The names of each one's ports.
    ports: Vec<PortNames>,
    /// Upcalls that the program in the kernel kept back.
    kept_back: u64,
    replay: bool,
    /// What makes a wall-clock time of an event's time.
    clock: i64,
    /// How many upcalls are still to be shown.
    left: Option<u64>,
    status: Option<StatusLine>,
    /// Upcalls received when it was last shown.
    told: u64,
    filters: Filters,
    summary: Summary,
    reported: Lost,
    failure: Option<anyhow::Error>,
    port: String,
    key: String,
}

/// Who causes the upcalls.
struct Talkers {
    /// Lines of each part of a summary.
    lines: usize,
    total: Flows,
    /// Of the interval that is not over yet.
    recent: Flows,
    interval: Option<Duration>,
    started: Instant,
    interval_started: Instant,
    /// Times of the first and the last event, for recordings.
    times: Option<(u64, u64)>,
    /// The names of threads.
    threads: HashMap<u32, String>,
}

impl Talkers {
    fn new(lines: usize, interval: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            lines,
            total: Flows::default(),
            recent: Flows::default(),
            interval,
            started: now,
            interval_started: now,
            times: None,
            threads: HashMap::new(),
        }
    }

    fn upcall(&mut self, upcall: &Upcall<'_>) {
        let flow = Flow::of(upcall);
        self.add(&flow, 1);
        let time = upcall.time;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        if flow.tid != 0 && !self.threads.contains_key(&flow.tid) {
            let name = String::from_utf8_lossy(upcall.comm).into_owned();
            self.threads.insert(flow.tid, name);
        }
    }

    fn add(&mut self, flow: &Flow, count: u64) {
        self.total.add(flow, count);
        if self.interval.is_some() {
            self.recent.add(flow, count);
        }
    }
}

/// The names of what flows have numbers of.
struct Known<'a> {
    daemons: &'a [u32],
    ports: &'a [PortNames],
    threads: &'a HashMap<u32, String>,
}

impl Names for Known<'_> {
    fn datapath(&self, flow: &Flow) -> String {
        datapath_label(flow.datapath(), flow.target, self.daemons)
    }

    fn port(&self, flow: &Flow) -> String {
        let names = self.ports.get(flow.target as usize);
        match flow.port() {
            None => "Unknown".to_string(),
            Some(port) => names
                .and_then(|names| names.known(flow.datapath(), port))
                .map_or_else(|| port.to_string(), str::to_string),
        }
    }

    fn thread(&self, flow: &Flow) -> String {
        let daemon = self.daemons.get(flow.target as usize);
        let comm = || {
            // It was seen in lost upcalls only.
            let comm =
                fs::read_to_string(format!("/proc/{}/task/{}/comm", daemon?, flow.tid)).ok()?;
            Some(comm.trim_end().to_string())
        };
        match self.threads.get(&flow.tid).cloned().or_else(comm) {
            Some(name) => format!("{name} ({})", flow.tid),
            None => flow.tid.to_string(),
        }
    }
}

/// The datapath, and whose it is if several daemons have one of that name.
fn datapath_label(datapath: &[u8], target: u32, daemons: &[u32]) -> String {
    let name = String::from_utf8_lossy(datapath);
    match daemons.get(target as usize) {
        Some(pid) if daemons.len() > 1 => format!("{name} of {pid}"),
        _ => name.into_owned(),
    }
}

struct Recording {
    writer: recording::Writer<Output>,
    /// The names that it has.
    ports: PortNames,
}

/// An output that may be absent, or have failed.
struct Sink<T> {
    name: &'static str,
    writer: Option<T>,
}

impl<T> Sink<T> {
    /// Writes, if there is something to write to. The first error closes this output, and ends the run; the others
    /// are still completed. A reader that went away is no failure.
    fn write(
        &mut self,
        failure: &mut Option<anyhow::Error>,
        write: impl FnOnce(&mut T) -> io::Result<()>,
    ) -> ControlFlow<()> {
        let Some(writer) = &mut self.writer else {
            return ControlFlow::Continue(());
        };
        let result = write(writer);
        if result.is_err() {
            self.writer = None;
        }
        report(self.name, result, failure)
    }

    /// Completes the output, if it has not failed.
    fn complete(
        &mut self,
        failure: &mut Option<anyhow::Error>,
        complete: impl FnOnce(T) -> io::Result<()>,
    ) {
        if let Some(writer) = self.writer.take() {
            let _ = report(self.name, complete(writer), failure);
        }
    }
}

fn report(
    name: &str,
    result: io::Result<()>,
    failure: &mut Option<anyhow::Error>,
) -> ControlFlow<()> {
    let Err(error) = result else {
        return ControlFlow::Continue(());
    };
    if error.kind() != ErrorKind::BrokenPipe {
        failure.get_or_insert_with(|| {
            anyhow!(
                "failed to write {name}: {}\nit can be read, and ends before the last upcalls of the summary",
                cause(&error)
            )
        });
    }
    ControlFlow::Break(())
}

impl Monitor {
    /// Opens the output files; `files` are those in use already. `start` describes the trace.
    pub fn new(args: &Args, start: &Start, mut files: Files) -> anyhow::Result<Self> {
        let capture = Capture::open(args, start, &mut files)?;
        let recording = match &args.recording.record {
            None => None,
            Some(path) => Some(Recording {
                writer: recording::Writer::new(files.create(path, args.recording.force)?, start)?,
                ports: PortNames::default(),
            }),
        };
        // As tcpdump has it: what goes to standard output is either text or a capture.
        let (mut table, mut json, mut quiet) = (None, None, None);
        match (&args.pcap, args.format) {
            (Some(path), _) if path == Path::new("-") => {}
            (_, Format::Text) if args.summary.quiet => quiet = Some(stdout()?),
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
        let only_summary = quiet.is_some();
        // As it was when a recording was made.
        let daemons = start.get("pid").unwrap_or_default();
        files.keep();
        Ok(Self {
            files,
            filter: args.filter.clone(),
            cut: 0,
            unknown: 0,
            key_decode: args.flow_key_decode,
            table: Sink {
                name: "standard output",
                writer: table,
            },
            json: Sink {
                name: "standard output",
                writer: json,
            },
            capture: Sink {
                name: "the capture",
                writer: capture,
            },
            recording: Sink {
                name: "the recording",
                writer: recording,
            },
            talkers: args
                .summary_lines()
                .map(|lines| Talkers::new(lines, args.summary.interval)),
            quiet: Sink {
                name: "standard output",
                writer: quiet,
            },
            show_events: !args.summary.quiet,
            daemons: daemons.split(' ').flat_map(str::parse).collect(),
            ports: vec![PortNames::default()],
            kept_back: 0,
            replay: args.recording.replay.is_some(),
            clock: 0,
            left: args.trace.count,
            status: match args.recording.replay {
                Some(_) => None,
                None => StatusLine::new(only_summary),
            },
            told: 0,
            filters: args.filters.clone(),
            summary: Summary::default(),
            reported: Lost::default(),
            failure: None,
            port: String::new(),
            key: String::new(),
        })
    }

    /// The daemons that are traced from now on, and the names of each one's ports.
    pub fn set_daemons(&mut self, daemons: Vec<u32>, ports: Vec<PortNames>) {
        self.daemons = daemons;
        self.ports = ports;
    }

    pub fn ports(&self) -> &[PortNames] {
        &self.ports
    }

    /// Whether the kernel told of ports that came or went.
    pub fn ports_have_changed(&mut self) -> bool {
        // Each is to be asked, whatever the others say.
        let ports = self.ports.iter_mut();
        ports.fold(false, |changed, names| names.have_changed() | changed)
    }

    /// Notices which ports were given to other devices since the kernel was last asked.
    pub fn refresh_ports(&mut self) {
        for names in &mut self.ports {
            // No names are better than no upcalls.
            let _ = names.refresh();
        }
    }

    /// The name of a port, from a recording.
    pub fn port(&mut self, datapath: &[u8], port: u32, name: &str) -> ControlFlow<()> {
        self.ports[0].insert(datapath, port, name);
        ControlFlow::Continue(())
    }

    /// What the wall clock is ahead of the clock of the events, in nanoseconds.
    pub fn clock(&mut self, offset: i64) -> ControlFlow<()> {
        self.clock = offset;
        self.recording.write(&mut self.failure, |recording| {
            recording.writer.clock(offset)
        })
    }

    /// Shows one record of the kernel.
    pub fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        match Upcall::from_record(record) {
            Ok(upcall) => self.upcall(&upcall, record),
            Err(_) => {
                self.summary.undecodable += 1;
                self.recording.write(&mut self.failure, |recording| {
                    recording.writer.record(record)
                })
            }
        }
    }

    fn upcall(&mut self, upcall: &Upcall<'_>, record: &[u8]) -> ControlFlow<()> {
        let datapath = upcall.datapath;
        let number = upcall.in_port();
        let device = upcall
            .failed_from
            .map(|from| String::from_utf8_lossy(from.device));
        let device = device.as_deref().filter(|device| !device.is_empty());
        let names = self.ports.get_mut(upcall.target as usize);
        let name = match (device, number, names) {
            (Some(device), ..) => Some(device),
            (None, Some(port), Some(names)) => names.lookup(datapath, port),
            _ => None,
        };
        // The kernel has filtered already, by all but the names of devices.
        let by_name = upcall.failed_from.is_some_and(|from| from.port.is_none());
        let other = self.replay && !self.filters.has(upcall);
        let other_port = (self.replay || by_name) && !self.filters.has_port(number, name);
        if other || other_port {
            self.summary.filtered += 1;
            return ControlFlow::Continue(());
        }
        let packet = &upcall.packet;
        if let Some(filter) = &self.filter
            && !filter.matches(packet.bytes, packet.len)
        {
            self.summary.filtered += 1;
            let looked_at = filter.reach().unwrap_or(u32::MAX).min(packet.len);
            self.cut += u64::from(packet.bytes.len() < looked_at as usize);
            return ControlFlow::Continue(());
        }
        self.summary.show(upcall);
        if let Some(talkers) = &mut self.talkers {
            talkers.upcall(upcall);
        }
        self.port.clear();
        // Writing to a String cannot fail.
        let _ = match (number, name) {
            (_, Some(name)) => self.port.write_str(name),
            (Some(number), None) => write!(self.port, "{number}"),
            (None, None) => self.port.write_str("Unknown"),
        };
        self.key.clear();
        let _ = key_lines(&mut self.key, &upcall.key, self.key_decode);

        self.recording.write(&mut self.failure, |recording| {
            if let (Some(port), Some(name)) = (number, name)
                && recording.ports.lookup(datapath, port) != Some(name)
            {
                recording.ports.insert(datapath, port, name);
                recording.writer.port(datapath, port, name)?;
            }
            recording.writer.record(&record[..upcall.record_len])
        })?;
        let time = upcall.time.saturating_add_signed(self.clock);
        let daemon = self.daemons.get(upcall.target as usize).copied();
        if self.show_events {
            self.json.write(&mut self.failure, |json| {
                json.event(upcall, name, daemon, time)
            })?;
        }
        let label = match &self.daemons[..] {
            [_, _, ..] => Some(datapath_label(datapath, upcall.target, &self.daemons)),
            _ => None,
        };
        let label = label.as_ref().map_or(datapath, |label| label.as_bytes());
        let upcall = &Upcall {
            datapath: label,
            ..*upcall
        };
        self.table.write(&mut self.failure, |table| {
            table.upcall(upcall, &self.port, &self.key)
        })?;
        self.capture.write(&mut self.failure, |capture| {
            self.port.push_str(" (");
            self.port.push_str(&String::from_utf8_lossy(label));
            self.port.push(')');
            let key = (!self.key.is_empty()).then_some(self.key.as_str());
            let lost = self.summary.lost.total();
            capture.write(upcall, &self.port, time, key, lost, &mut self.files)
        })?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// The packet filter that is to be applied to what comes, if any.
    pub fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
    }

    /// How many upcalls the program in the kernel has kept back, and of how many of them it does not know whether they
    /// match.
    pub fn set_kept_back(&mut self, (count, unknown): (u64, u64)) {
        self.kept_back = count;
        self.unknown = unknown;
    }

    pub fn kept_back(&self) -> (u64, u64) {
        (self.kept_back, self.unknown)
    }

    /// Counts upcalls of a flow that were lost.
    pub fn lost_flow(&mut self, flow: &Flow, count: u64) {
        if let Some(talkers) = &mut self.talkers {
            talkers.add(flow, count);
        }
    }

    /// Counts upcalls that were lost, and of which no more is known.
    pub fn lost_of_unknown_flow(&mut self, count: u64) {
        if let Some(talkers) = &mut self.talkers {
            talkers.total.add_unknown(count);
            talkers.recent.add_unknown(count);
        }
    }

    /// Whether it is time for a summary.
    pub fn interval_is_over(&self) -> bool {
        let over = |talkers: &Talkers| {
            let interval = talkers.interval?;
            Some(talkers.interval_started.elapsed() >= interval)
        };
        self.talkers.as_ref().and_then(over) == Some(true)
    }

    /// Shows who caused the upcalls since this was last shown.
    pub fn interval(&mut self) -> ControlFlow<()> {
        let Some(talkers) = &mut self.talkers else {
            return ControlFlow::Continue(());
        };
        let now = Instant::now();
        let seconds = now.duration_since(talkers.interval_started).as_secs_f64();
        talkers.interval_started = now;
        let known = Known {
            daemons: &self.daemons,
            ports: &self.ports,
            threads: &talkers.threads,
        };
        let report = Report::new(&talkers.recent, seconds, talkers.lines, &known);
        talkers.recent.clear();
        self.show_report(&report, |json, report| json.interval(report))
    }

    fn show_report(
        &mut self,
        report: &Report,
        json: impl FnOnce(&mut Json<Output>, &Report) -> io::Result<()>,
    ) -> ControlFlow<()> {
        if self.json.writer.is_some() {
            return self
                .json
                .write(&mut self.failure, |writer| json(writer, report));
        }
        if self.quiet.writer.is_some() {
            erase_status();
            return self.quiet.write(&mut self.failure, |out| {
                writeln!(out, "{report}")?;
                out.flush()
            });
        }
        // In the order of events for whoever sees both.
        self.table.write(&mut self.failure, Table::flush)?;
        note(report);
        ControlFlow::Continue(())
    }

    /// Tells how many upcalls were lost until now, at once if it is more than was told before.
    pub fn lost(&mut self, lost: Lost) -> ControlFlow<()> {
        self.summary.lost = lost;
        let new = lost.since(&self.reported);
        if new.total() == 0 {
            return ControlFlow::Continue(());
        }
        self.reported = lost;
        // In the order of events for whoever sees both.
        self.table.write(&mut self.failure, Table::flush)?;
        self.json.write(&mut self.failure, |json| {
            json.lost(&new)?;
            json.flush()
        })?;
        let hint = if new.ring_full() {
            "; a larger --buffer-page-count helps"
        } else {
            ""
        };
        note(format_args!(
            "warning: {} upcalls lost ({new}){hint}",
            new.total()
        ));
        self.recording.write(&mut self.failure, |recording| {
            recording.writer.lost(lost.counts())
        })
    }

    /// How many of the lost were told.
    pub fn reported(&self) -> Lost {
        self.reported
    }

    /// Lets readers of the outputs see what there is.
    pub fn flush(&mut self) -> ControlFlow<()> {
        if let Some(status) = &mut self.status
            && let Some(since) = status.is_due()
        {
            let received = self.summary.received() + self.kept_back;
            let rate = (received - self.told) as f64 / since.as_secs_f64();
            self.told = received;
            let lost = self.summary.lost.total();
            status.show(&format!(
                "{received} upcalls, {rate:.0} a second, {lost} lost"
            ));
        }
        self.table.write(&mut self.failure, Table::flush)?;
        self.json.write(&mut self.failure, Json::flush)?;
        self.capture.write(&mut self.failure, Capture::flush)?;
        self.recording
            .write(&mut self.failure, |recording| recording.writer.flush())
    }

    /// Completes the outputs and says what became of the upcalls, of which `left` came after the end of the run.
    pub fn finish(mut self, left: u64) -> anyhow::Result<()> {
        self.summary.left = left;
        self.summary.filtered += self.kept_back;
        let report = self.talkers.take().map(|talkers| {
            let seconds = match talkers.times {
                // A recording is as long as its events are apart.
                Some((first, last)) if self.replay => (last - first) as f64 / 1e9,
                _ => talkers.started.elapsed().as_secs_f64(),
            };
            let known = Known {
                daemons: &self.daemons,
                ports: &self.ports,
                threads: &talkers.threads,
            };
            Report::new(&talkers.total, seconds, talkers.lines, &known)
        });
        if let Some(report) = &report
            && self.json.writer.is_none()
        {
            let _ = self.show_report(report, |_, _| Ok(()));
        }
        let failure = &mut self.failure;
        self.table.complete(failure, |mut table| table.flush());
        self.quiet.complete(failure, |mut out| out.flush());
        self.json.complete(failure, |mut json| {
            json.summary(&self.summary, report.as_ref())?;
            json.flush()
        });
        let lost = self.summary.lost.total();
        self.capture
            .complete(failure, |capture| capture.finish(lost));
        self.recording
            .complete(failure, |recording| recording.writer.finish().map(drop));
        note(self.summary);
        if self.summary.lost.ring_full() {
            note("not all upcalls were captured; use a larger --buffer-page-count");
        }
        let doubtful = self.cut + self.unknown;
        if doubtful > 0 {
            note(format_args!(
                "warning: {doubtful} of the filtered upcalls may have matched: \
                 what the packet filter looks at was cut off or could not be read"
            ));
        }
        self.failure.map_or(Ok(()), Err)
    }
}
