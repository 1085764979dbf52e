//! Where every upcall goes, live or from a recording: the table, the capture file, a recording, the summary.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ovs_tracers::cli::{BUFFER, Output, cause, stdout};
use ovs_tracers::event::Upcall;
use ovs_tracers::ports::PortNames;
use ovs_tracers::recording::{self, Start};
use ovs_tracers::summary::{Lost, Summary};
use ovs_tracers::text::{KeyDecode, Table, key_lines};
use ovs_tracers::{flow_key, pcapng};

use crate::args::Args;

pub struct Monitor {
    key_decode: KeyDecode,
    table: Option<Table<Output>>,
    capture: Option<pcapng::Writer<Output>>,
    recording: Option<Recording>,
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
    closed: bool,
    port: String,
    key: String,
}

struct Recording {
    writer: recording::Writer<Output>,
    /// The names that it has.
    ports: PortNames,
}

impl Monitor {
    /// Opens the output files. `start` describes the trace.
    pub fn new(args: &Args, start: &Start) -> anyhow::Result<Self> {
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
                create(path, args.force)?,
                snaplen,
                &section,
            )?),
        };
        // As tcpdump has it: what goes to standard output is either text or a capture.
        let table = match &args.pcap {
            Some(path) if pipe(path) => None,
            _ => Some(Table::new(
                stdout()?,
                args.packet_decode,
                capture.is_some(),
            )?),
        };
        let recording = match &args.record {
            None => None,
            Some(path) => Some(Recording {
                writer: recording::Writer::new(create(path, args.force)?, start)?,
                ports: PortNames::default(),
            }),
        };
        Ok(Self {
            key_decode: args.flow_key_decode,
            table,
            capture,
            recording,
            ports: PortNames::default(),
            clock: 0,
            times: None,
            left: args.count,
            summary: Summary::default(),
            reported: Lost::default(),
            failure: None,
            closed: false,
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
        match &mut self.recording {
            Some(recording) => {
                let result = recording.writer.clock(offset);
                self.check(result, "the recording")
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// Shows one record of the kernel.
    pub fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        match Upcall::from_record(record) {
            Ok(upcall) => self.upcall(&upcall, record),
            Err(_) => {
                self.summary.undecodable += 1;
                match &mut self.recording {
                    Some(recording) => {
                        let result = recording.writer.record(record);
                        self.check(result, "the recording")
                    }
                    None => ControlFlow::Continue(()),
                }
            }
        }
    }

    fn upcall(&mut self, upcall: &Upcall<'_>, record: &[u8]) -> ControlFlow<()> {
        self.summary.show(upcall);
        self.port.clear();
        match flow_key::in_port(upcall.key.bytes) {
            None => self.port.push_str("Unknown"),
            Some(port) => match self.ports.lookup(upcall.datapath, port) {
                Some(name) => {
                    self.port.push_str(name);
                    if let Some(recording) = &mut self.recording
                        && recording.ports.lookup(upcall.datapath, port) != Some(name)
                    {
                        recording.ports.insert(upcall.datapath, port, name);
                        let result = recording.writer.port(upcall.datapath, port, name);
                        self.check(result, "the recording")?;
                    }
                }
                None => {
                    let _ = write!(self.port, "{port}");
                }
            },
        }
        self.key.clear();
        // Writing to a String cannot fail.
        let _ = key_lines(&mut self.key, &upcall.key, self.key_decode);

        if let Some(recording) = &mut self.recording {
            let result = recording.writer.record(&record[..upcall.record_len()]);
            self.check(result, "the recording")?;
        }
        if let Some(table) = &mut self.table {
            let result = table.upcall(upcall, &self.port, &self.key);
            self.check(result, "standard output")?;
        }
        if let Some(capture) = &mut self.capture {
            let time = upcall.time.saturating_add_signed(self.clock);
            self.times = Some((self.times.map_or(time, |(first, _)| first), time));
            let datapath = String::from_utf8_lossy(upcall.datapath);
            let _ = write!(self.port, " ({datapath})");
            let key = (!self.key.is_empty()).then_some(self.key.as_str());
            let result = capture.write(upcall, &self.port, time, key);
            self.check(result, "the capture")?;
        }
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
        self.flush()?;
        let hint = if new.ring_full() {
            "; a larger --buffer-page-count helps"
        } else {
            ""
        };
        eprintln!("warning: {} upcalls lost ({new}){hint}", new.total());
        match &mut self.recording {
            Some(recording) => {
                let result = recording.writer.lost(lost.counts());
                self.check(result, "the recording")
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// How many of the lost were told.
    pub fn reported(&self) -> Lost {
        self.reported
    }

    /// Lets readers of the outputs see what there is.
    pub fn flush(&mut self) -> ControlFlow<()> {
        if let Some(table) = &mut self.table {
            let result = table.flush();
            self.check(result, "standard output")?;
        }
        if let Some(capture) = &mut self.capture {
            let result = capture.flush();
            self.check(result, "the capture")?;
        }
        if let Some(recording) = &mut self.recording {
            let result = recording.writer.flush();
            self.check(result, "the recording")?;
        }
        ControlFlow::Continue(())
    }

    /// Ends the run on the first output that takes no more. A reader that went away is no failure.
    fn check(&mut self, result: io::Result<()>, what: &str) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                ControlFlow::Break(())
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| {
                    anyhow!(
                        "failed to write {what}: {}\nwhat was written before can be read",
                        cause(&error)
                    )
                });
                ControlFlow::Break(())
            }
        }
    }

    /// Completes the outputs and says what became of the upcalls.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let writable = self.failure.is_none() && !self.closed;
        if writable {
            let _ = self.flush();
        }
        eprintln!("{}", self.summary);
        if self.summary.lost.ring_full() {
            eprintln!("not all upcalls were captured; use a larger --buffer-page-count");
        }
        if let Some(error) = self.failure {
            return Err(error);
        }
        if let Some(capture) = self.capture.take()
            && !self.closed
        {
            let (start, end) = self.times.unwrap_or_default();
            let lost = self.summary.lost.total();
            capture
                .finish(&pcapng::Stats { start, end, lost })
                .context("failed to complete the capture")?;
        }
        if let Some(recording) = self.recording.take() {
            recording
                .writer
                .finish()
                .context("failed to complete the recording")?;
        }
        Ok(())
    }
}

/// Creates an output file for its owner alone. What exists is left alone, unless `force` is given or it is a device or
/// a named pipe.
fn create(path: &Path, force: bool) -> anyhow::Result<Output> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let new = options.clone().create_new(true).open(path);
    let file = match new {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let kind = path.symlink_metadata().map(|metadata| metadata.file_type());
            let stream = kind.is_ok_and(|kind| kind.is_char_device() || kind.is_fifo());
            if !stream && !force {
                bail!(
                    "{} exists already\nuse another name, or --force to overwrite it",
                    path.display()
                );
            }
            options.truncate(!stream);
            options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
            options.open(path)
        }
        other => other,
    };
    let file =
        file.map_err(|error| anyhow!("failed to create {}: {}", path.display(), cause(&error)))?;
    Ok(BufWriter::with_capacity(BUFFER, Box::new(file)))
}
