//! The lines and the figures as JSON Lines, see [`crate::show::json`].
//!
//! `docs/bridge-loop.schema.json` is the schema. The records are `start`, `run`, `wait`, `interval` and `summary`.

use std::io::{self, Write};
use std::time::Duration;

use super::Kind;
use super::figures::{Figures, Lost};
use super::record::Record;
use crate::run::recording::Start;
use crate::show::json::{Line, Text};

/// Version of the schema: changes when a field changes its meaning or goes, not when one is added.
const SCHEMA: u32 = 1;

/// Writes JSON Lines, a line at a time.
#[derive(Default)]
pub struct Json {
    line: Line,
}

impl Json {
    pub fn start(&mut self, out: &mut impl Write, start: &Start) -> io::Result<()> {
        self.line.start(SCHEMA, start);
        self.line.write(out)
    }

    /// Writes one run or wait. `frames` are the frames of its stack.
    pub fn record(
        &mut self,
        out: &mut impl Write,
        record: &Record<'_>,
        frames: &[String],
    ) -> io::Result<()> {
        let (line, header) = (&mut self.line, &record.header);
        line.record(record.kind.name());
        line.field("end_ns", header.end);
        line.field("duration_ns", header.duration);
        line.field("begun_before", header.unseen != 0);
        line.field("pid", header.pid);
        line.field("tid", header.tid);
        line.field("comm", Text(record.comm));
        if !frames.is_empty() {
            let at = if header.stack_at_end == 0 {
                "threshold"
            } else {
                "end"
            };
            line.field("stack_at", at);
            line.field("stack", frames);
        }
        line.write(out)
    }

    /// Writes what was counted in an interval.
    pub fn interval(
        &mut self,
        out: &mut impl Write,
        figures: &Figures,
        elapsed: Duration,
    ) -> io::Result<()> {
        self.line.record("interval");
        self.figures(figures, elapsed);
        self.line.write(out)
    }

    /// Writes what was counted in all. `shown` is how many lines there are of runs and waits, `linear` whether the
    /// histograms are those of bridge_loop.bt.
    pub fn summary(
        &mut self,
        out: &mut impl Write,
        figures: &Figures,
        elapsed: Duration,
        shown: u64,
        lost: Lost,
        linear: bool,
    ) -> io::Result<()> {
        self.line.record("summary");
        self.figures(figures, elapsed);
        let line = &mut self.line;
        line.field("begun_before", figures.threads);
        line.field("lines_shown", shown);
        line.field("lines_lost", lost.lines);
        line.field("probes_not_counted", lost.probes);
        for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
            line.name_of(kind.name(), "_histogram_ns");
            line.value(totals.buckets(kind, linear));
        }
        line.write(out)
    }

    fn figures(&mut self, figures: &Figures, elapsed: Duration) {
        let line = &mut self.line;
        let (rate, busy) = figures.rates(elapsed);
        line.field("seconds", round(elapsed.as_secs_f64(), 1e6));
        line.field("loops_per_second", round(rate, 1e3));
        line.field("busy_percent", busy.map(|busy| round(busy, 1e4)));
        line.field("in_run_ns", figures.running);
        for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
            line.begin(kind.name(), b'{');
            line.field("count", totals.count);
            line.field("sum_ns", totals.sum);
            if totals.count > 0 {
                line.field("min_ns", totals.min);
                line.field("p50_ns", totals.quantile(0.5));
                line.field("p90_ns", totals.quantile(0.9));
                line.field("p99_ns", totals.quantile(0.99));
                line.field("max_ns", totals.max);
            }
            line.end(b'}');
        }
    }
}

/// To so many parts of one.
fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge_loop::record::tests::record;

    /// Check that an object says what the record has, and that a name cannot break it.
    #[test]
    fn lines() {
        let odd = b"a\"\n\\\xff\0garbage...";
        let bytes = record(0, 0, 3_723_000_209_759, odd, &[0x10, 0x20]);
        let record = Record::from_bytes(&bytes).unwrap();
        let mut out = Vec::new();
        let frames = ["f\x1b+0x1 (x)".to_string()];
        Json::default().record(&mut out, &record, &frames).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"record\":\"run\",\"end_ns\":5000000000,\"duration_ns\":3723000209759,\"begun_before\":false,\
             \"pid\":41,\"tid\":42,\"comm\":\"a\\\"\\n\\\\\u{fffd}\",\"stack_at\":\"threshold\",\
             \"stack\":[\"f\\u001b+0x1 (x)\"]}\n"
        );
    }

    /// Check that figures of no time at all are JSON too.
    #[test]
    fn no_time() {
        let mut out = Vec::new();
        let figures = Figures::default();
        let mut json = Json::default();
        json.interval(&mut out, &figures, Duration::ZERO).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"record\":\"interval\",\"seconds\":0.0,\"loops_per_second\":null,\"busy_percent\":null,\"in_run_ns\":0,\
             \"run\":{\"count\":0,\"sum_ns\":0},\"wait\":{\"count\":0,\"sum_ns\":0}}\n"
        );
    }
}
