//! Times counted by the kernel in log-linear buckets, and histograms printed as bpftrace prints them.
//!
//! A bucket's unit is 1000/1024 ns, so that 1024 units are a microsecond and each power of two of microseconds begins a
//! bucket. Below 32 units there is a bucket for each; above, 32 for each power of two, so that a bucket is at most 1/32
//! of its values wide and the middle of it at most 1.6 % off. `bpf/bridge_loop.bpf.c` has the other half.

use std::io::{self, Write};
use std::ops::Range;

/// `SUB_BITS` and `MAX_BITS` of `bpf/bridge_loop.h`.
pub(crate) const SUB_BITS: u32 = 5;
pub(crate) const MAX_BITS: u32 = 56;
/// How many buckets there are.
pub const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) << SUB_BITS) as usize;

/// The least units that fall into a bucket.
const fn units(bucket: usize) -> u64 {
    let sub = 1 << SUB_BITS;
    let bucket = bucket as u64;
    if bucket < sub {
        bucket
    } else {
        let shift = bucket / sub - 1;
        (bucket - shift * sub) << shift
    }
}

/// The least nanoseconds that fall into a bucket.
const fn nanoseconds(bucket: usize) -> u64 {
    // In 128 bits: the end of the last bucket times 125 is more than 64 hold.
    (units(bucket) as u128 * 125).div_ceil(128) as u64
}

/// The bucket of a time, as `bpf/bridge_loop.bpf.c` computes it.
fn bucket(ns: u64) -> usize {
    let units = (u128::from(ns) * 128 / 125) as u64;
    let shift = units.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    ((u64::from(shift) << SUB_BITS) + (units >> shift)) as usize
}

/// How many times fell into each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// Takes the counts of the [`BUCKETS`] buckets; what is missing is 0.
    pub fn new(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut counts: Vec<u64> = counts.into_iter().take(BUCKETS).collect();
        counts.resize(BUCKETS, 0);
        Self(counts)
    }

    /// Counts one time, in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        let bucket = bucket(nanoseconds).min(BUCKETS - 1);
        self.0[bucket] += 1;
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(&before.0);
        Self(
            counts
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        )
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets that are not empty: the least nanoseconds in it, the first that are not, the count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let counts = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(i, count)| (nanoseconds(i), nanoseconds(i + 1), *count))
    }

    /// The bucket with the time that `share` of all are not longer than, in nanoseconds: the least in it, and the first
    /// that is not. `None` if nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Range<u64>> {
        let rank = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(nanoseconds(bucket)..nanoseconds(bucket + 1))
    }

    /// The rows of bpftrace's `hist()` of the microseconds.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (bucket, count) in self.0.iter().enumerate() {
            let power = (units(bucket) >> 10).checked_ilog2();
            let label = match power {
                None => "[0]".to_string(),
                Some(0) => "[1]".to_string(),
                Some(n) => format!("[{}, {})", power_of_two(n), power_of_two(n + 1)),
            };
            match rows.last_mut() {
                Some(last) if last.label == label => last.count += count,
                _ => rows.push(Row {
                    label,
                    count: *count,
                }),
            }
        }
        rows
    }
}

/// A time in the unit that suits it.
pub fn human(ns: u64) -> String {
    let time = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.2} us", time / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", time / 1e6),
        _ => format!("{:.3} s", time / 1e9),
    }
}

fn power_of_two(power: u32) -> String {
    let suffix = ["", "K", "M", "G", "T", "P"][power as usize / 10];
    format!("{}{suffix}", 1 << (power % 10))
}

/// A row of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub label: String,
    pub count: u64,
}

/// The rows of bpftrace's `lhist()`: buckets of `step`, and for what is longer the last of `counts`.
pub fn linear_rows(counts: &[u64], step: u64) -> Vec<Row> {
    let last = counts.len().saturating_sub(1);
    let rows = counts.iter().enumerate().map(|(i, count)| {
        let low = i as u64 * step;
        let label = if i == last {
            format!("[{low}, ...)")
        } else {
            format!("[{low}, {})", low + step)
        };
        Row {
            label,
            count: *count,
        }
    });
    rows.collect()
}

/// Prints a histogram, without the empty rows at either end.
pub fn print(out: &mut impl Write, name: &str, rows: &[Row]) -> io::Result<()> {
    const WIDTH: usize = 52;
    writeln!(out, "@{name}: ")?;
    let start = rows.iter().position(|row| row.count > 0);
    let end = rows.iter().rposition(|row| row.count > 0);
    let rows = start
        .zip(end)
        .map_or(&[][..], |(start, end)| &rows[start..=end]);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    for Row { label, count } in rows {
        let bar = (*count as f32 / most as f32 * WIDTH as f32) as usize;
        writeln!(out, "{label:<16}{count:>8} |{:<WIDTH$}|", "@".repeat(bar))?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::new([]);
        for time in times {
            histogram.add(*time);
        }
        histogram
    }

    /// Check that each bucket begins where the kernel begins to count into it, and is at most 1/32 wide.
    #[test]
    fn edges() {
        for i in 0..BUCKETS - 1 {
            let (low, end) = (nanoseconds(i), nanoseconds(i + 1));
            // Two units may begin within the same nanosecond: no time falls into the first then.
            if low < end {
                assert_eq!(bucket(low), i);
                assert_eq!(bucket(end - 1), i);
            }
            if i >= 64 {
                assert!(
                    (end - low) as f64 <= low as f64 / 32.0 + 1.0,
                    "{low}..{end}"
                );
            }
        }
        assert_eq!(bucket((1 << 55) - 1), bucket((1 << 55) - 2));
        assert!(bucket((1 << 55) - 1) < BUCKETS);
    }

    /// Check that rows are those of bpftrace 0.17's `hist()` of the microseconds, at each side of each edge.
    #[test]
    fn rows() {
        let times = [
            0, 999, 1000, 1999, 2000, 3999, 4000, 1_023_999, 1_024_000, 2_048_000,
        ];
        let mut out = Vec::new();
        print(&mut out, "t", &histogram(&times).rows()).unwrap();
        let bar = |n| "@".repeat(n);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "@t: \n\
                 [0]                    2 |{0}|\n\
                 [1]                    2 |{0}|\n\
                 [2, 4)                 2 |{0}|\n\
                 [4, 8)                 1 |{1:<52}|\n\
                 [8, 16)                0 |{2:<52}|\n\
                 [16, 32)               0 |{2:<52}|\n\
                 [32, 64)               0 |{2:<52}|\n\
                 [64, 128)              0 |{2:<52}|\n\
                 [128, 256)             0 |{2:<52}|\n\
                 [256, 512)             0 |{2:<52}|\n\
                 [512, 1K)              1 |{1:<52}|\n\
                 [1K, 2K)               1 |{1:<52}|\n\
                 [2K, 4K)               1 |{1:<52}|\n\n",
                bar(52),
                bar(26),
                ""
            )
        );
    }

    /// Check the linear rows against those of `bridge_loop.bt` in Open vSwitch's documentation of it.
    #[test]
    fn linear() {
        let mut counts = vec![0; 1001];
        (counts[3], counts[16], counts[1000]) = (1, 3, 1);
        let rows = linear_rows(&counts, 30_000);
        assert_eq!(rows[3].label, "[90000, 120000)");
        assert_eq!(rows[16].label, "[480000, 510000)");
        assert_eq!(rows[1000].label, "[30000000, ...)");
        let mut out = Vec::new();
        print(&mut out, "w", &rows[..17]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 16);
        let first = format!("[90000, 120000)        1 |{:<52}|", "@".repeat(17));
        assert_eq!(text.lines().nth(1), Some(first.as_str()));
    }

    /// Check that a quantile is the bucket of the time at its rank, and that nothing has none.
    #[test]
    fn quantiles() {
        let times: Vec<u64> = (1..=1000).map(|n| n * 1000).collect();
        let histogram = histogram(&times);
        assert_eq!(histogram.count(), 1000);
        for (share, exact) in [
            (0.0, 1000),
            (0.5, 500_000),
            (0.99, 990_000),
            (1.0, 1_000_000),
        ] {
            let bucket = histogram.quantile(share).unwrap();
            assert!(bucket.contains(&exact), "{share}: {bucket:?}");
        }
        assert_eq!(Histogram::new([]).quantile(0.5), None);
        let more = Histogram::new(histogram.0.iter().map(|count| count * 2));
        assert_eq!(more.since(&histogram), histogram);
    }
}
