//! The events and the report as JSON Lines, see [`crate::show::json`].
//!
//! Each object has a `record`: `start`, `event`, `lost`, then those of the report: `events` (of each kind), `thread`,
//! `batches`, `stage`, `group`, `slow`, `failed`, `unmatched`, and at last `summary`. Times are integers of nanoseconds
//! (`_ns`) or microseconds with a fraction (`_us`). A count or a sum of counts that 64 bits cannot hold is
//! [`u64::MAX`].

use std::io::{self, Write};

use super::analysis::{Analysis, sum};
use super::event::{Event, Kind};
use super::groups::{GROUP_STAGES, Group};
use super::histogram::Scale;
use super::report::{Options, QUANTILES};
use super::stage::Stage;
use super::stats::{BATCH_SIZES, Slow};
use crate::run::recording::Start;
use crate::show::errno;
use crate::show::json::{Line, Text};
use crate::upcall::json::key;

/// Version of the schema.
const SCHEMA: u32 = 1;

/// Writes JSON Lines to `out`, a line at a time.
pub struct Json<W: Write> {
    out: W,
    line: Line,
}

/// Rounds microseconds to the nanosecond.
fn round(us: f64) -> f64 {
    (us * 1000.0).round() / 1000.0
}

impl<W: Write> Json<W> {
    /// Writes the start record.
    pub fn new(out: W, start: &Start) -> io::Result<Self> {
        let mut json = Self {
            out,
            line: Line::default(),
        };
        json.line.start(SCHEMA, start);
        json.write()?;
        Ok(json)
    }

    fn write(&mut self) -> io::Result<()> {
        self.line.write(&mut self.out)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes an event.
    pub fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let line = &mut self.line;
        line.record("event");
        line.field("event", event.kind.name());
        line.field("time_ns", event.time);
        line.field("cpu", event.cpu);
        line.field("comm", Text(event.comm));
        line.field("pid", event.pid);
        line.field("tid", event.tid);
        let upcall = matches!(
            event.kind,
            Kind::RecvUpcall | Kind::DpUpcall | Kind::DpFailed
        );
        if upcall {
            line.field("datapath", Text(event.datapath));
            line.field("port", event.port);
            line.field("type", event.upcall_type);
        }
        if matches!(event.kind, Kind::DpUpcall | Kind::DpFailed) {
            line.field("device", Text(event.device));
        }
        if matches!(event.kind, Kind::DpUpcall | Kind::DpFailed | Kind::DpQueued) {
            line.field("portid", event.portid);
        }
        if event.message != 0 {
            line.field("message", format!("{:#x}", event.message));
        }
        for (name, time) in [("begun_ns", event.begun), ("ended_ns", event.ended)] {
            if let Some(time) = time {
                line.field(name, time);
            }
        }
        if event.kind == Kind::DpFailed || event.result != 0 {
            line.field("result", event.result);
            if let Some(name) = errno::name(event.result.wrapping_neg()) {
                line.field("result_name", name);
            }
        }
        if upcall || event.kind == Kind::OpFlowExecute {
            line.captured("packet", &event.packet);
            line.end(b'}');
        }
        self.write()
    }

    /// Writes that `lost` events of each kind are missing since the last such line.
    pub fn lost(&mut self, lost: &[u64]) -> io::Result<()> {
        self.line.record("lost");
        self.line.field("lost", sum(lost));
        self.lost_kinds(lost);
        self.write()
    }

    fn lost_kinds(&mut self, lost: &[u64]) {
        self.line.begin("lost_events", b'{');
        for (kind, count) in Kind::ALL.iter().zip(lost) {
            if *kind != Kind::DpQueued || *count > 0 {
                self.line.field(kind.name(), count);
            }
        }
        self.line.end(b'}');
    }

    /// Writes the report. `late` is how many events came after the end of the run.
    pub fn report(&mut self, analysis: &Analysis, options: &Options, late: u64) -> io::Result<()> {
        let (counts, stats) = (&analysis.counts, &analysis.stats);
        for kind in Kind::ALL {
            let i = kind as usize;
            if kind == Kind::DpQueued && !analysis.of_kernel {
                continue;
            }
            self.line.record("events");
            self.line.field("event", kind.name());
            self.line.field("usable", counts.usable[i]);
            self.line.field("total", counts.total[i]);
            self.line.field("lost", counts.missed[i]);
            self.write()?;
        }
        for handler in stats.handlers() {
            self.line.record("thread");
            self.line.field("comm", Text(&handler.comm));
            self.line.field("tid", handler.tid);
            self.line.field("upcalls", handler.upcalls);
            self.write()?;
        }
        self.line.record("batches");
        self.line.field("count", sum(&stats.batches));
        self.line.field("largest", stats.largest_batch);
        self.line.begin("sizes", b'[');
        for (i, count) in stats.batches.iter().enumerate().filter(|(_, c)| **c > 0) {
            self.line.begin_item(b'{');
            match i {
                BATCH_SIZES => self.line.field("more_than", BATCH_SIZES),
                _ => self.line.field("size", i + 1),
            }
            self.line.field("count", count);
            self.line.end(b'}');
        }
        self.line.end(b']');
        self.write()?;
        for stage in Stage::shown(analysis.of_kernel) {
            self.stage(analysis, *stage, options)?;
        }
        for (by, groups) in [
            ("handler", stats.by_handler.by_count()),
            ("port", stats.by_port.by_count()),
            ("datapath", stats.by_datapath.by_count()),
            ("batch_size", stats.by_batch()),
        ] {
            for group in groups {
                self.group(by, group)?;
            }
        }
        for slow in stats.slowest() {
            self.slow(slow, analysis.of_kernel)?;
        }
        for (errno, count) in analysis.matcher.failed() {
            self.line.record("failed");
            self.line.field("error", errno);
            if let Some(name) = errno::name(errno) {
                self.line.field("error_name", name);
            }
            self.line.field("count", count);
            self.write()?;
        }
        for (kind, errno, count) in analysis.matcher.failed_requests() {
            self.line.record("failed_request");
            self.line.field("event", kind.name());
            self.line.field("error", errno);
            if let Some(name) = errno::name(errno) {
                self.line.field("error_name", name);
            }
            self.line.field("count", count);
            self.write()?;
        }
        for (kind, reason, count) in analysis.matcher.unmatched() {
            self.line.record("unmatched");
            self.line.field("event", kind.name());
            self.line.field("reason", reason.name());
            self.line.field("text", reason.text());
            self.line.field("count", count);
            self.write()?;
        }
        self.line.record("summary");
        self.line.field("events", sum(&counts.total));
        self.line.field("lost", sum(&counts.missed));
        self.line.field("sets", stats.sets);
        self.line.field("received", stats.received);
        self.line.field("failed", analysis.matcher.failed_in_all());
        self.line.field("unreadable", counts.unreadable);
        if analysis.of_kernel || counts.unseen > 0 {
            self.line.field("unseen", counts.unseen);
        }
        self.line.field("undecodable", counts.undecodable);
        self.line.field("left", late);
        self.line.field("partial", counts.partial);
        self.line.field("paged", counts.paged);
        self.write()
    }

    fn stage(&mut self, analysis: &Analysis, stage: Stage, options: &Options) -> io::Result<()> {
        let samples = &analysis.stats.stages[stage as usize];
        let line = &mut self.line;
        line.record("stage");
        line.field("name", stage.name());
        line.field("title", stage.title());
        if analysis.of_kernel {
            let (from, to) = stage.ends();
            line.field("from", from);
            line.field("to", to);
        }
        line.field("count", samples.count());
        if samples.count() > 0 {
            let view = samples.view();
            line.field("min_us", samples.min());
            line.field("max_us", samples.max());
            line.field("mean_us", round(samples.mean()));
            line.field("sd_us", round(samples.variance().sqrt()));
            line.field("median_us", round(view.median()));
            for (share, name) in QUANTILES {
                let name = format!("{}_us", name.replace('.', "_"));
                line.field(&name, view.quantile(share));
            }
            line.field(
                "scale",
                match options.scale {
                    Scale::Linear(_) => "linear",
                    Scale::Logarithmic => "logarithmic",
                },
            );
            line.begin("buckets", b'[');
            for bucket in view.buckets(options.scale) {
                line.begin_item(b'{');
                line.field("low_us", bucket.low);
                line.field("high_us", bucket.high);
                line.field("count", bucket.count);
                line.end(b'}');
            }
            line.end(b']');
        }
        if options.sets {
            line.field("times_ns", samples.kept());
        }
        self.write()
    }

    fn group(&mut self, by: &str, group: &Group) -> io::Result<()> {
        let line = &mut self.line;
        line.record("group");
        line.field("by", by);
        line.field("name", Text(group.name.as_bytes()));
        line.field("upcalls", group.count);
        for (stage, samples) in GROUP_STAGES.iter().zip(&group.stages) {
            line.begin(stage.name(), b'{');
            line.field("count", samples.count());
            let view = samples.view();
            for (share, name) in QUANTILES {
                if let Some(ns) = view.quantile_ns(share) {
                    line.field(&format!("{}_ns", name.replace('.', "_")), ns);
                }
            }
            if let Some(max) = samples.max_ns() {
                line.field("max_ns", max);
            }
            line.end(b'}');
        }
        self.write()
    }

    fn slow(&mut self, slow: &Slow, of_kernel: bool) -> io::Result<()> {
        let line = &mut self.line;
        line.record("slow");
        line.field("duration_ns", slow.duration);
        line.field("time_ns", slow.time);
        for (stage, part) in Stage::PARTS.iter().zip(slow.parts) {
            line.field(&format!("{}_ns", stage.name()), part);
        }
        if of_kernel {
            for (stage, part) in Stage::KERNEL.iter().zip(slow.kernel) {
                line.field(&format!("{}_ns", stage.name()), part);
            }
        }
        for (name, error) in [
            ("put_error", slow.put_error),
            ("execute_error", slow.execute_error),
        ] {
            if let Some(error) = error {
                line.field(name, error);
            }
        }
        line.field("comm", Text(&slow.comm));
        line.field("tid", slow.tid);
        line.field("cpu", slow.cpu);
        line.field("datapath", Text(&slow.datapath));
        line.field("device", Text(&slow.device));
        line.field("port", slow.port);
        line.field("batch", slow.batch);
        if let Some(ufid) = slow.ufid {
            let hex: String = ufid.iter().map(|byte| format!("{byte:02x}")).collect();
            line.field("ufid", hex);
        }
        line.begin("packet", b'{');
        line.field("length", slow.packet_len);
        line.field("captured", slow.packet.len());
        line.base64("bytes", &slow.packet);
        line.end(b'}');
        line.begin("key", b'{');
        line.field("length", slow.key_len);
        line.field("captured", slow.key.len());
        key::write(line, &slow.key);
        line.end(b'}');
        self.write()
    }
}
