//! The lines and the figures as JSON Lines, see [`crate::show::json`].
//!
//! `docs/bridge-loop.schema.json` is the schema. The records are `start`, `run`, `wait`, `interval` and `summary`.

use std::io::{self, Write};
use std::time::Duration;

use super::figures::Figures;
use super::held::Held;
use super::record::Record;
use super::stack::Stack;
use super::unwind::End;
use super::{Group, Kind};
use crate::bpf::bridge_loop::types::stack_at;
use crate::run::loss::Lost;
use crate::run::recording::Start;
use crate::run::session::Past;
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

    /// Writes one run or wait. `grouped` says that the kernel is the source, so
    /// that there may be several groups of threads.
    pub fn record(
        &mut self,
        out: &mut impl Write,
        record: &Record<'_>,
        grouped: bool,
        held: Option<&Held>,
        stack: Option<&Stack>,
    ) -> io::Result<()> {
        let (line, header) = (&mut self.line, &record.header);
        line.record(record.kind.name());
        line.field("end_ns", header.head.time);
        line.field("duration_ns", header.duration);
        line.field("begun_before", header.unseen != 0);
        line.field("pid", header.head.pid);
        line.field("tid", header.head.tid);
        line.field("comm", Text(record.comm));
        if grouped {
            line.field("threads", record.group.name());
        }
        if let Some(held) = held {
            line.field("cpu_ns", held.cpu);
            line.field("cpu_user_ns", held.user_system.map(|(user, _)| user));
            line.field("cpu_system_ns", held.user_system.map(|(_, system)| system));
            line.field("runnable_ns", held.runnable);
            line.field("blocked_ns", held.blocked);
            if let Some(block) = &held.longest {
                line.field("longest_block_ns", block.duration);
                line.field("blocked_in", &block.function);
                line.field("syscall", &block.syscall);
                if stack.is_some() {
                    line.field("kernel_stack", &block.frames);
                }
            }
        }
        if let Some(stack) = stack {
            let at = match stack_at(u32::from(header.stack_at)) {
                stack_at::STACK_AT_THRESHOLD => "threshold",
                stack_at::STACK_AT_BLOCK => "block",
                _ => "end",
            };
            line.field("stack_at", at);
            line.field("stack", &stack.frames);
            line.field("stack_certain", stack.certain);
            let end = match stack.end {
                End::Outermost => "outermost",
                End::Copy => "copy",
                End::NoInformation => "no_information",
                End::TooMany => "too_many",
                End::FramePointers => "frame_pointers",
            };
            line.field("stack_end", end);
        }
        line.write(out)
    }

    /// Writes what was counted in an interval; of the threads of a group, if the kernel is the source.
    pub fn interval(
        &mut self,
        out: &mut impl Write,
        group: Option<Group>,
        figures: &Figures,
        past: Past,
    ) -> io::Result<()> {
        self.line.record("interval");
        self.line.times(past.time, past.wall_time);
        self.group(group);
        self.figures(figures, past.elapsed);
        self.line.write(out)
    }

    /// Writes what was counted in all; of the threads of a group, if the kernel is the source. `shown` is how many lines there are of runs and waits, `linear` whether the
    /// histograms are those of bridge_loop.bt.
    #[expect(clippy::too_many_arguments)]
    pub fn summary(
        &mut self,
        out: &mut impl Write,
        group: Option<Group>,
        figures: &Figures,
        elapsed: Duration,
        shown: u64,
        lost: &Lost,
        linear: bool,
    ) -> io::Result<()> {
        self.line.record("summary");
        self.group(group);
        self.figures(figures, elapsed);
        let line = &mut self.line;
        line.field("begun_before", figures.threads);
        line.field("lines_shown", shown);
        line.field("lines_lost", lost.total_of("lines"));
        line.field("probes_not_counted", lost.total_of("probes"));
        for (kind, totals) in Kind::ALL.into_iter().zip(&figures.kinds) {
            line.name_of(kind.name(), "_histogram_ns");
            line.value(totals.buckets(kind, linear));
        }
        line.write(out)
    }

    fn group(&mut self, group: Option<Group>) {
        if let Some(group) = group {
            self.line.field("threads", group.name());
        }
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
        let stack = Stack {
            frames: vec!["f\x1b+0x1 (x)".into()],
            certain: 1,
            end: End::Copy,
        };
        Json::default()
            .record(&mut out, &record, false, None, Some(&stack))
            .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"record\":\"run\",\"end_ns\":5000000000,\"duration_ns\":3723000209759,\"begun_before\":false,\
             \"pid\":41,\"tid\":42,\"comm\":\"a\\\"\\n\\\\\u{fffd}\",\"stack_at\":\"threshold\",\
             \"stack\":[\"f\\u001b+0x1 (x)\"],\"stack_certain\":1,\"stack_end\":\"copy\"}\n"
        );
    }

    /// Check that figures of no time at all are JSON too.
    #[test]
    fn no_time() {
        let mut out = Vec::new();
        let figures = Figures::default();
        let mut json = Json::default();
        let past = Past {
            elapsed: Duration::ZERO,
            time: 7_000_000_001,
            wall_time: 1_000_000_000_000_000_001,
        };
        json.interval(&mut out, None, &figures, past).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"record\":\"interval\",\"time_ns\":7000000001,\"wall_time\":\"2001-09-09T01:46:40.000000001Z\",\
             \"seconds\":0.0,\"loops_per_second\":null,\"busy_percent\":null,\"in_run_ns\":0,\
             \"run\":{\"count\":0,\"sum_ns\":0},\"wait\":{\"count\":0,\"sum_ns\":0}}\n"
        );
    }
}
