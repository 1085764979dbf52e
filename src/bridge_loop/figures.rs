//! What the kernel has counted, and what follows from it.

use std::ops::Range;
use std::time::Duration;

use super::Kind;
use crate::show::histogram::{self, Histogram, Row};

/// Nanoseconds. The main loop is reported to be in a run if that has taken as long as what ovs-vswitchd's log calls an
/// unreasonably long poll interval.
pub const LONG: u64 = 1_000_000_000;

/// What was counted of one kind.
pub struct Totals {
    pub histogram: Histogram,
    /// Counts by the buckets of bridge_loop.bt, if they were asked for.
    pub linear: Vec<u64>,
    pub count: u64,
    /// How many of them get a line, together with the one that had begun before its thread was seen.
    pub lines: u64,
    /// Nanoseconds.
    pub sum: u64,
    pub min: u64,
    pub max: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            histogram: Histogram::new([]),
            linear: Vec::new(),
            count: 0,
            lines: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Totals {
    /// The middle of the bucket, which is at most 1.6 % off.
    pub fn quantile(&self, share: f64) -> u64 {
        let middle = |bucket: Range<u64>| bucket.start.midpoint(bucket.end);
        let time = self.histogram.quantile(share).map_or(0, middle);
        time.max(self.min).min(self.max)
    }

    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The buckets that are not empty: the least nanoseconds in it, the first beyond it, the count. `linear` are those
    /// of bridge_loop.bt, the last of which has no end.
    pub fn buckets(&self, kind: Kind, linear: bool) -> Vec<(u64, Option<u64>, u64)> {
        if !linear {
            let buckets = self.histogram.buckets();
            return buckets
                .map(|(low, end, count)| (low, Some(end), count))
                .collect();
        }
        let step = linear_step(kind) * 1000;
        let last = self.linear.len().saturating_sub(1);
        let counts = self.linear.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(i, count)| {
                let low = i as u64 * step;
                (low, (i < last).then_some(low + step), *count)
            })
            .collect()
    }

    /// The rows of the printed histogram.
    pub fn rows(&self, kind: Kind, linear: bool) -> Vec<Row> {
        if linear {
            histogram::linear_rows(&self.linear, linear_step(kind))
        } else {
            self.histogram.rows()
        }
    }
}

/// Microseconds of a bucket of bridge_loop.bt.
fn linear_step(kind: Kind) -> u64 {
    match kind {
        Kind::Run => 1000,
        Kind::Wait => 30_000,
    }
}

/// What was counted.
#[derive(Default)]
pub struct Figures {
    /// In the order of [`Kind::ALL`].
    pub kinds: [Totals; 2],
    /// How many threads were seen. Of each, a run or wait that had begun before is not counted.
    pub threads: u64,
    /// Nanoseconds since the beginning of the longest run that has not ended.
    pub running: u64,
}

impl Figures {
    /// What was counted since `before`. The kernel keeps no extremes of a part, so they are those of the histogram.
    pub fn since(&self, before: &Self) -> Self {
        let kinds = [0, 1].map(|i| {
            let (now, then) = (&self.kinds[i], &before.kinds[i]);
            let histogram = now.histogram.since(&then.histogram);
            let extreme = |share| histogram.quantile(share);
            let (min, max) = (extreme(0.0), extreme(1.0));
            Totals {
                count: now.count.saturating_sub(then.count),
                lines: now.lines.saturating_sub(then.lines),
                sum: now.sum.saturating_sub(then.sum),
                min: min.map_or(u64::MAX, |bucket| bucket.start.max(now.min)),
                max: max.map_or(0, |bucket| bucket.end.min(now.max)),
                linear: Vec::new(),
                histogram,
            }
        });
        Self {
            kinds,
            threads: self.threads,
            running: self.running,
        }
    }

    /// Nanoseconds of all that was counted.
    pub fn timed(&self) -> u64 {
        self.kinds.iter().map(|totals| totals.sum).sum()
    }

    /// Loops per second, and the percentage of their time that runs took, if anything was timed.
    pub fn rates(&self, elapsed: Duration) -> (f64, Option<f64>) {
        let run = &self.kinds[0];
        let rate = run.count as f64 / elapsed.as_secs_f64();
        let timed = self.timed();
        let busy = run.sum as f64 * 100.0 / timed as f64;
        (rate, (timed > 0).then_some(busy))
    }
}

/// Counts of what is missing: `enum bridge_loop_lost` of bpf/bridge_loop.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub lines: u64,
    /// Probes of threads that are too many to be timed.
    pub probes: u64,
}

impl Lost {
    pub fn new(counts: &[u64]) -> Self {
        let count = |i| counts.get(i).copied().unwrap_or(0);
        Self {
            lines: count(0),
            probes: count(1),
        }
    }
}
