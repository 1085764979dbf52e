//! The packets as pcapng, in one file or in a series of them.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use ovs_tracers::ovs::packet::Link;
use ovs_tracers::run::output::{Files, Output, stdout};
use ovs_tracers::run::recording::Start;
use ovs_tracers::run::rotation::Series;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::pcapng::{Section, Stats, Writer};

use crate::args::Args;
use crate::outputs::Row;

pub struct Capture {
    /// None if the next file could not be created.
    writer: Option<Writer<Output>>,
    series: Option<Series>,
    snaplen: u32,
    hardware: String,
    os: String,
    application: String,
    /// Wall-clock times of the first and the last upcall of the file.
    times: Option<(u64, u64)>,
    /// Lost upcalls that files before this one have counted.
    lost: u64,
    /// Room for the name of a port and its datapath.
    port: String,
}

impl Capture {
    /// Opens what --pcap names, if it is given. `start` describes the trace.
    pub fn open(args: &Args, start: &Start, files: &mut Files) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.pcap else {
            return Ok(None);
        };
        let (output, series) = if path == Path::new("-") {
            if rustix::termios::isatty(io::stdout()) {
                bail!(
                    "a capture is not for a terminal\nredirect standard output, or give --pcap a file name"
                );
            }
            (stdout()?, None)
        } else if args.rotate.is_empty() {
            (files.create(path, args.recording.force)?, None)
        } else {
            let mut series = Series::new(path, args.recording.force, &args.rotate);
            (series.next(files)?, Some(series))
        };
        let text = |name| start.get(name).unwrap_or_default();
        let words =
            |first: &str, second| format!("{first} {}", text(second)).trim_end().to_string();
        let mut capture = Self {
            writer: None,
            series,
            snaplen: text("packet_size").parse().unwrap_or(0),
            hardware: text("machine").to_string(),
            os: words("Linux", "kernel"),
            application: words(env!("CARGO_BIN_NAME"), "tool_version"),
            times: None,
            lost: 0,
            port: String::new(),
        };
        capture.begin(output)?;
        Ok(Some(capture))
    }

    fn begin(&mut self, output: Output) -> io::Result<()> {
        let section = Section {
            hardware: &self.hardware,
            os: &self.os,
            application: &self.application,
            comment: "",
        };
        self.writer = Some(Writer::new(output, self.snaplen, &section)?);
        Ok(())
    }

    /// Writes one upcall, as [`Writer::write`], to the next file if this one is full.
    pub fn write(
        &mut self,
        upcall: &Upcall<'_>,
        link: Link,
        row: &Row<'_>,
        files: &mut Files,
    ) -> io::Result<()> {
        let time = row.time;
        if let (Some(series), Some(writer), Some((first, _))) =
            (&mut self.series, &self.writer, self.times)
            && series.is_full(
                writer.size(),
                Duration::from_nanos(time.saturating_sub(first)),
            )
        {
            self.end(row.lost.total())?;
            self.next(files)?;
        }
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        self.port.clear();
        // By itself, from_utf8_lossy() would take three times as long.
        let datapath = match str::from_utf8(upcall.datapath) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(upcall.datapath),
        };
        // Piece by piece: write! would take a tenth of what writing the packet does.
        for piece in [row.port, " (", &datapath, ")"] {
            self.port.push_str(piece);
        }
        let key = (!row.key.is_empty()).then_some(row.key);
        match &mut self.writer {
            Some(writer) => writer.write(upcall, link, &self.port, time, key),
            None => Ok(()),
        }
    }

    fn next(&mut self, files: &mut Files) -> io::Result<()> {
        let Some(series) = &mut self.series else {
            return Ok(());
        };
        let output = series
            .next(files)
            .map_err(|error| io::Error::other(error.to_string().replace('\n', "; ")))?;
        files.keep();
        self.begin(output)
    }

    /// Completes the file.
    fn end(&mut self, lost: u64) -> io::Result<()> {
        let (start, end) = self.times.take().unwrap_or_default();
        let stats = Stats {
            start,
            end,
            lost: lost.saturating_sub(self.lost),
        };
        self.lost = lost;
        match self.writer.take() {
            Some(writer) => writer.finish(&stats).map(drop),
            None => Ok(()),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Some(writer) => writer.flush(),
            None => Ok(()),
        }
    }

    /// Completes the last file; `lost` is how many upcalls were lost in all.
    pub fn finish(mut self, lost: u64) -> io::Result<()> {
        self.end(lost)
    }
}
