//! Where every upcall goes, live or from a recording: the table or JSON, the capture file, a recording, the summary.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{anyhow, bail};
use ovs_tracers::cli::{cause, note};
use ovs_tracers::event::Upcall;
use ovs_tracers::json::Json;
use ovs_tracers::output::{Files, Output, stdout};
use ovs_tracers::ports::PortNames;
use ovs_tracers::recording::{self, Start};
use ovs_tracers::summary::{Lost, Summary};
use ovs_tracers::text::{KeyDecode, Table, key_lines};
use ovs_tracers::{flow_key, pcapng};

use crate::args::{Args, Format};

pub struct Monitor {
    key_decode: KeyDecode,
    table: Sink<Table<Output>>,
    json: Sink<Json<Output>>,
    capture: Sink<pcapng::Writer<Output>>,
    recording: Sink<Recording>,
    ports: PortNames,
    /// What makes a wall-clock time of an event's time.
    clock: i64,
    /// Wall-clock times of the first and the last upcall of the capture.
    times: Option<(u64, u64)>,
    /// How many upcalls are still to be shown.
    left: Option<u64>,
    summary: Summary,
    reported: Lost,
    failure: Option<anyhow::Error>,
    port: String,
    key: String,
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
        let pipe = |path: &Path| path == Path::new("-");
        let os = format!("Linux {}", start.get("kernel").unwrap_or_default());
        let application = format!(
            "{} {}",
            env!("CARGO_BIN_NAME"),
            start.get("tool_version").unwrap_or_default()
        );
        let section = pcapng::Section {
            hardware: start.get("machine").unwrap_or_default(),
            os: os.trim_end(),
            application: application.trim_end(),
            comment: "",
        };
        let snaplen = start
            .get("packet_size")
            .and_then(|size| size.parse().ok())
            .unwrap_or(0);
        let capture = match &args.pcap {
            None => None,
            Some(path) if pipe(path) => {
                if rustix::termios::isatty(io::stdout()) {
                    bail!(
                        "a capture is not for a terminal\nredirect standard output, or give --pcap a file name"
                    );
                }
                Some(pcapng::Writer::new(stdout()?, snaplen, &section)?)
            }
            Some(path) => Some(pcapng::Writer::new(
                files.create(path, args.force)?,
                snaplen,
                &section,
            )?),
        };
        let recording = match &args.record {
            None => None,
            Some(path) => Some(Recording {
                writer: recording::Writer::new(files.create(path, args.force)?, start)?,
                ports: PortNames::default(),
            }),
        };
        // As tcpdump has it: what goes to standard output is either text or a capture.
        let (table, json) = match (&args.pcap, args.format) {
            (Some(path), _) if pipe(path) => (None, None),
            (_, Format::Text) => {
                let table = Table::new(stdout()?, args.packet_decode, capture.is_some())?;
                (Some(table), None)
            }
            (_, Format::Json) => (None, Some(Json::new(stdout()?, args.packet_decode, start)?)),
        };
        files.keep();
        Ok(Self {
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
            ports: PortNames::default(),
            clock: 0,
            times: None,
            left: args.count,
            summary: Summary::default(),
            reported: Lost::default(),
            failure: None,
            port: String::new(),
            key: String::new(),
        })
    }

    /// Takes the names of ports from the kernel from now on.
    pub fn set_ports(&mut self, ports: PortNames) {
        self.ports = ports;
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
        self.summary.show(upcall);
        let datapath = upcall.datapath;
        let number = flow_key::in_port(upcall.key.bytes);
        let name = number.and_then(|port| self.ports.lookup(datapath, port));
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
            recording.writer.record(&record[..upcall.record_len()])
        })?;
        self.table.write(&mut self.failure, |table| {
            table.upcall(upcall, &self.port, &self.key)
        })?;
        let time = upcall.time.saturating_add_signed(self.clock);
        self.json
            .write(&mut self.failure, |json| json.event(upcall, name, time))?;
        self.capture.write(&mut self.failure, |capture| {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
            self.port.push_str(" (");
            self.port.push_str(&String::from_utf8_lossy(datapath));
            self.port.push(')');
            let key = (!self.key.is_empty()).then_some(self.key.as_str());
            capture.write(upcall, &self.port, time, key)
        })?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return ControlFlow::Break(());
            }
        }
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
        self.table.write(&mut self.failure, Table::flush)?;
        self.json.write(&mut self.failure, Json::flush)?;
        self.capture
            .write(&mut self.failure, pcapng::Writer::flush)?;
        self.recording
            .write(&mut self.failure, |recording| recording.writer.flush())
    }

    /// Completes the outputs and says what became of the upcalls, of which `left` came after the end of the run.
    pub fn finish(mut self, left: u64) -> anyhow::Result<()> {
        self.summary.left = left;
        let failure = &mut self.failure;
        self.table.complete(failure, |mut table| table.flush());
        self.json.complete(failure, |mut json| {
            json.summary(&self.summary)?;
            json.flush()
        });
        let (start, end) = self.times.unwrap_or_default();
        let lost = self.summary.lost.total();
        self.capture.complete(failure, |capture| {
            capture
                .finish(&pcapng::Stats { start, end, lost })
                .map(drop)
        });
        self.recording
            .complete(failure, |recording| recording.writer.finish().map(drop));
        note(self.summary);
        if self.summary.lost.ring_full() {
            note("not all upcalls were captured; use a larger --buffer-page-count");
        }
        self.failure.map_or(Ok(()), Err)
    }
}
