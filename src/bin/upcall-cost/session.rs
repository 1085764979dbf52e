//! Where every event goes, live or from a recording: the lines, a recording, the analysis, the report.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;

use anyhow::anyhow;
use ovs_tracers::cli::options::Format;
use ovs_tracers::cli::{cause, note};
use ovs_tracers::cost::analysis::Analysis;
use ovs_tracers::cost::histogram::Scale;
use ovs_tracers::cost::json::Json;
use ovs_tracers::cost::report::{self, Options};
use ovs_tracers::cost::{self, Event, HEADER, KINDS, Kind, svg};
use ovs_tracers::ovs::ports::PortNames;
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::{self, Start};

use crate::args::Args;

/// What goes to standard output.
enum Out {
    Text(Output),
    Json(Json<Output>),
}

struct Recording {
    writer: recording::Writer<Output>,
    /// The names that it has.
    ports: PortNames,
}

pub struct Session {
    /// None after it failed.
    out: Option<Out>,
    recording: Option<Recording>,
    picture: Option<Output>,
    title: String,
    options: Options,
    events: bool,
    analysis: Analysis,
    ports: PortNames,
    /// Upcalls, and events, still to be taken.
    upcalls_left: Option<u64>,
    events_left: Option<u64>,
    reported: Vec<u64>,
    failure: Option<anyhow::Error>,
    text: String,
}

/// Notes why an output takes no more, which ends the run; a reader that went away is no failure.
fn failed(name: &str, error: &io::Error, failure: &mut Option<anyhow::Error>) -> ControlFlow<()> {
    if error.kind() != ErrorKind::BrokenPipe {
        failure.get_or_insert_with(|| anyhow!("failed to write {name}: {}", cause(error)));
    }
    ControlFlow::Break(())
}

impl Session {
    /// Opens the output files; `files` are those in use already. `start` describes the trace: kernel, pid,
    /// packet_size, flow_key_size, as upcall-monitor has them.
    pub fn new(args: &Args, start: &Start, mut files: Files) -> anyhow::Result<Self> {
        let recording = match &args.recording.record {
            None => None,
            Some(path) => Some(Recording {
                writer: recording::Writer::new(files.create(path, args.recording.force)?, start)?,
                ports: PortNames::default(),
            }),
        };
        let picture = match &args.svg {
            None => None,
            Some(path) => Some(files.create(path, args.recording.force)?),
        };
        let events = !args.quiet;
        let out = match args.format {
            Format::Text => {
                let mut out = stdout()?;
                if events {
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
        Ok(Self {
            out: Some(out),
            recording,
            title: title.join(", "),
            options: Options {
                scale,
                sets: args.sets,
            },
            events,
            analysis: Analysis::new(
                &args.handler_filter,
                args.slowest as usize,
                picture.is_some(),
            ),
            picture,
            ports: PortNames::default(),
            upcalls_left: args.trace.count,
            events_left: args.stop.filter(|events| *events > 0),
            reported: Vec::new(),
            failure: None,
            text: String::new(),
        })
    }

    /// Takes the names of ports from the kernel from now on.
    pub fn set_ports(&mut self, ports: PortNames) {
        self.ports = ports;
    }

    /// Whether the kernel told of ports that came or went.
    pub fn ports_have_changed(&mut self) -> bool {
        self.ports.have_changed()
    }

    /// Notices which ports were given to other devices since the kernel was last asked.
    pub fn refresh_ports(&mut self) {
        // No names are better than no upcalls.
        let _ = self.ports.refresh();
    }

    /// The name of a port, from a recording.
    pub fn port(&mut self, datapath: &[u8], port: u32, name: &str) -> ControlFlow<()> {
        self.ports.insert(datapath, port, name);
        ControlFlow::Continue(())
    }

    /// What the wall clock is ahead of the clock of the events, in nanoseconds.
    pub fn clock(&mut self, offset: i64) -> ControlFlow<()> {
        self.keep(|recording| recording.writer.clock(offset))
    }

    fn keep(&mut self, write: impl FnOnce(&mut Recording) -> io::Result<()>) -> ControlFlow<()> {
        let Some(recording) = &mut self.recording else {
            return ControlFlow::Continue(());
        };
        match write(recording) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.recording = None;
                failed("the recording", &error, &mut self.failure)
            }
        }
    }

    fn show(&mut self, write: impl FnOnce(&mut Out) -> io::Result<()>) -> ControlFlow<()> {
        let Some(out) = &mut self.out else {
            return ControlFlow::Continue(());
        };
        match write(out) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.out = None;
                failed("standard output", &error, &mut self.failure)
            }
        }
    }

    /// Takes one record of the kernel. Breaks when --count or --stop is reached, or an output takes no more.
    pub fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        match Event::from_record(record) {
            Ok(event) => {
                if self.recording.is_some() {
                    self.port_of(&event)?;
                    self.keep(|recording| recording.writer.record(&record[..event.record_len()]))?;
                }
                self.event(&event)
            }
            Err(_) => {
                self.analysis.counts.undecodable += 1;
                self.keep(|recording| recording.writer.record(record))
            }
        }
    }

    /// Records the name of the port of an upcall that was received.
    fn port_of(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        let Some(port) = event.port.filter(|_| event.kind == Kind::RecvUpcall) else {
            return ControlFlow::Continue(());
        };
        let Some(name) = self.ports.lookup(event.datapath, port) else {
            return ControlFlow::Continue(());
        };
        let Some(recording) = &mut self.recording else {
            return ControlFlow::Continue(());
        };
        if recording.ports.lookup(event.datapath, port) == Some(name) {
            return ControlFlow::Continue(());
        }
        recording.ports.insert(event.datapath, port, name);
        let name = name.to_string();
        self.keep(|recording| recording.writer.port(event.datapath, port, &name))
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        if !self.analysis.wants(event) {
            return ControlFlow::Continue(());
        }
        self.analysis.event(event);
        if self.events {
            let mut text = std::mem::take(&mut self.text);
            let shown = self.show(|out| match out {
                Out::Text(out) => {
                    text.clear();
                    // Writing to a String cannot fail.
                    let _ = cost::line(&mut text, event);
                    out.write_all(text.as_bytes())
                }
                Out::Json(json) => json.event(event),
            });
            self.text = text;
            shown?;
        }
        let upcall = event.kind == Kind::RecvUpcall;
        for (left, counts) in [
            (&mut self.upcalls_left, upcall),
            (&mut self.events_left, true),
        ] {
            if let Some(left) = left.as_mut().filter(|_| counts) {
                *left -= 1;
                if *left == 0 {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Tells how many events were lost until now, at once if it is more than was told before. `counts` is lost[] of
    /// the BPF program: for each `enum cost_event` how many found the ring full, then how many had arguments that
    /// could not be read.
    pub fn lost(&mut self, counts: &[u64]) -> ControlFlow<()> {
        let before = std::mem::replace(&mut self.reported, counts.to_vec());
        let new: Vec<u64> = counts
            .iter()
            .enumerate()
            .map(|(i, count)| count.saturating_sub(before.get(i).copied().unwrap_or(0)))
            .collect();
        let total = new
            .iter()
            .fold(0u64, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return ControlFlow::Continue(());
        }
        let (ring, arguments) = new.split_at(new.len().min(KINDS));
        let ring_full = ring.iter().any(|count| *count > 0);
        for (sum, count) in self.analysis.counts.missed.iter_mut().zip(ring) {
            *sum = sum.saturating_add(*count);
        }
        let unreadable = arguments
            .iter()
            .fold(0u64, |sum, count| sum.saturating_add(*count));
        let counted = &mut self.analysis.counts.unreadable;
        *counted = counted.saturating_add(unreadable);
        self.show(|out| match out {
            Out::Text(out) => out.flush(),
            Out::Json(json) => {
                json.lost(ring)?;
                json.flush()
            }
        })?;
        let hint = if ring_full {
            "; a larger --buffer-page-count helps"
        } else {
            ""
        };
        note(format_args!("warning: {total} events lost{hint}"));
        self.keep(|recording| recording.writer.lost(counts))
    }

    /// Counts of the lost that were told.
    pub fn reported(&self) -> &[u64] {
        &self.reported
    }

    /// Lets readers of the outputs see what there is.
    pub fn flush(&mut self) -> ControlFlow<()> {
        self.show(|out| match out {
            Out::Text(out) => out.flush(),
            Out::Json(json) => json.flush(),
        })?;
        self.keep(|recording| recording.writer.flush())
    }

    /// Completes the outputs and reports. `left` events came after the end of the run.
    pub fn finish(mut self, left: u64) -> anyhow::Result<()> {
        self.analysis.finish();
        let failure = &mut self.failure;
        if let Some(recording) = self.recording.take()
            && let Err(error) = recording.writer.finish()
        {
            let _ = failed("the recording", &error, failure);
        }
        if let Some(mut picture) = self.picture.take()
            && let Err(error) =
                svg::write(&mut picture, &self.analysis, &self.title).and_then(|()| picture.flush())
        {
            let _ = failed("the picture", &error, failure);
        }
        let (analysis, options) = (&self.analysis, &self.options);
        let reported = match self.out.take() {
            None => Ok(()),
            Some(Out::Text(mut out)) => {
                report::write(&mut out, analysis, options).and_then(|()| out.flush())
            }
            Some(Out::Json(mut json)) => json
                .report(analysis, options, left)
                .and_then(|()| json.flush()),
        };
        if let Err(error) = reported {
            let _ = failed("standard output", &error, failure);
        }
        let total: u64 = self.analysis.counts.total.iter().sum();
        let more = match left {
            0 => String::new(),
            left => format!(", {left} events came after the end"),
        };
        note(format_args!(
            "{total} events: {} upcalls put together{more}",
            self.analysis.stats.sets
        ));
        self.failure.map_or(Ok(()), Err)
    }
}
