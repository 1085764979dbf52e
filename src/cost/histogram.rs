//! Gathers times, exactly while they are few and in fine buckets when they are many, and computes the quantiles and
//! histograms of the report from them.

use crate::show::histogram::Histogram;

/// How many times are kept exactly. When there are more, quantiles are those of buckets that are at most 1/32 wide.
pub const EXACT: usize = 100_000;

/// Times of one kind, in nanoseconds.
pub struct Samples {
    exact: Vec<u64>,
    /// Exists once there are more than [`EXACT`] times; until then the times themselves are more precise.
    fine: Option<Histogram>,
    count: u64,
    min: u64,
    max: u64,
    mean: f64,
    /// Sum of squared differences from the mean (Welford).
    squares: f64,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            exact: Vec::new(),
            fine: None,
            count: 0,
            min: u64::MAX,
            max: 0,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

/// A bucket of a histogram, in microseconds. Values equal to `high` are in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub low: f64,
    pub high: f64,
    pub count: u64,
}

/// How a histogram is divided into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// This many buckets of equal width.
    Linear(u32),
    /// A bucket for each power of two of microseconds.
    Logarithmic,
}

/// Converts nanoseconds to microseconds.
pub fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

impl Samples {
    pub fn add(&mut self, ns: u64) {
        self.count += 1;
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        let off = ns as f64 - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (ns as f64 - self.mean);
        match &mut self.fine {
            Some(fine) => fine.add(ns),
            None if self.exact.len() < EXACT => self.exact.push(ns),
            None => {
                let fine = self.fine.insert(Histogram::new([]));
                for ns in &self.exact {
                    fine.add(*ns);
                }
                fine.add(ns);
            }
        }
    }

    /// Keeps no times any more, only buckets.
    pub(super) fn bucket(&mut self) {
        if self.fine.is_some() {
            return;
        }
        let fine = self.fine.insert(Histogram::new([]));
        for ns in std::mem::take(&mut self.exact) {
            fine.add(ns);
        }
    }

    /// Whether quantiles are those of the times themselves, and not of buckets.
    pub fn is_exact(&self) -> bool {
        self.fine.is_none()
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first [`EXACT`] times, in the order in which they came.
    pub fn kept(&self) -> &[u64] {
        &self.exact
    }

    /// The least time, in microseconds.
    pub fn min(&self) -> f64 {
        us(self.min)
    }

    /// The greatest time, in nanoseconds.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The greatest time, in microseconds.
    pub fn max(&self) -> f64 {
        us(self.max)
    }

    /// The mean, in microseconds.
    pub fn mean(&self) -> f64 {
        self.mean / 1000.0
    }

    /// The variance of these times (not the one estimated for a larger population), in square microseconds.
    pub fn variance(&self) -> f64 {
        self.squares / self.count.max(1) as f64 / 1e6
    }

    /// Sorts the times that are kept, so that quantiles are cheap.
    pub fn view(&self) -> View<'_> {
        let mut sorted = match self.fine {
            Some(_) => Vec::new(),
            None => self.exact.clone(),
        };
        sorted.sort_unstable();
        View {
            samples: self,
            sorted,
        }
    }
}

/// Samples to which no more are added.
pub struct View<'a> {
    samples: &'a Samples,
    /// All times in their order; empty if there are too many to be kept.
    sorted: Vec<u64>,
}

impl View<'_> {
    /// The least time, in microseconds, that a `share` of all times does not exceed; 0 if there are no times.
    pub fn quantile(&self, share: f64) -> f64 {
        self.quantile_ns(share).map_or(0.0, us)
    }

    /// The same in nanoseconds; `None` if there are no times.
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        if let Some(last) = self.sorted.len().checked_sub(1) {
            let rank = (share * self.sorted.len() as f64).ceil().max(1.0) as usize;
            return Some(self.sorted[(rank - 1).min(last)]);
        }
        let bucket = self.samples.fine.as_ref()?.quantile(share)?;
        Some(self.inside(bucket.start.midpoint(bucket.end)))
    }

    /// The middle of a bucket, within the times that were seen.
    fn inside(&self, ns: u64) -> u64 {
        ns.max(self.samples.min).min(self.samples.max)
    }

    /// The middle time or, of an even number of times, the mean of the two in the middle, in microseconds.
    pub fn median(&self) -> f64 {
        let len = self.sorted.len();
        if len == 0 {
            return self.quantile(0.5);
        }
        let middle = us(self.sorted[len / 2]);
        if len % 2 == 1 {
            middle
        } else {
            (us(self.sorted[len / 2 - 1]) + middle) / 2.0
        }
    }

    /// The buckets of the histogram. Every time is in one of them.
    pub fn buckets(&self, scale: Scale) -> Vec<Bucket> {
        let samples = self.samples;
        if samples.count == 0 {
            return Vec::new();
        }
        let (min, max) = (samples.min(), samples.max());
        let mut highs: Vec<f64> = match scale {
            Scale::Linear(buckets) => {
                let max = if max > min { max } else { min + 1.0 };
                let step = (max - min) / f64::from(buckets);
                (1..=buckets).map(|i| min + step * f64::from(i)).collect()
            }
            Scale::Logarithmic => {
                // 0 has no logarithm; the least other time is a nanosecond.
                let first = min.max(0.001).log2().floor() as i32;
                let last = (max.max(0.001).log2().ceil() as i32).max(first + 1);
                (first + 1..=last).map(|power| 2f64.powi(power)).collect()
            }
        };
        let low = match scale {
            Scale::Linear(_) => min,
            Scale::Logarithmic => highs[0] / 2.0,
        };
        if let Some(last) = highs.last_mut() {
            *last = last.max(max);
            if matches!(scale, Scale::Linear(_)) && max > min {
                *last = max;
            }
        }
        let mut buckets = Vec::with_capacity(highs.len());
        let mut before = low;
        for high in highs {
            buckets.push(Bucket {
                low: before,
                high,
                count: 0,
            });
            before = high;
        }
        let last = buckets.len() - 1;
        let mut add = |value: f64, count: u64| {
            let place = buckets.partition_point(|bucket| bucket.high < value);
            buckets[place.min(last)].count += count;
        };
        match &samples.fine {
            None => samples.exact.iter().for_each(|ns| add(us(*ns), 1)),
            Some(fine) => {
                for (start, end, count) in fine.buckets() {
                    add(us(self.inside(start.midpoint(end))), count);
                }
            }
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        times.into_iter().for_each(|ns| samples.add(ns));
        samples
    }

    /// Check that every value is in a bucket, the maximum too, where adding up the width of a bucket falls short of it.
    #[test]
    fn the_maximum_is_counted() {
        for max in (8_935..200_000).step_by(37) {
            let samples = samples([8_935, 9_001, max]);
            for scale in [Scale::Linear(20), Scale::Linear(7), Scale::Logarithmic] {
                let buckets = samples.view().buckets(scale);
                assert_eq!(buckets.iter().map(|b| b.count).sum::<u64>(), 3);
                let last = buckets.last().unwrap();
                assert!(last.high >= us(max), "{max}");
                if max > 100_000 {
                    assert_eq!(last.count, 1, "{max}");
                }
            }
        }
    }

    /// Check mean, variance and median of a few numbers that were worked out by hand: 2, 4, 4, 4, 5, 5, 7, 9 have the
    /// mean 5 and the variance 4.
    #[test]
    fn moments() {
        let samples = samples([2, 4, 4, 4, 5, 5, 7, 9].map(|us| us * 1000));
        let view = samples.view();
        assert!((samples.mean() - 5.0).abs() < 1e-9);
        assert!((samples.variance() - 4.0).abs() < 1e-9);
        assert_eq!(view.median(), 4.5);
        assert_eq!(view.quantile(0.5), 4.0);
        assert_eq!(view.quantile(0.9), 9.0);
        assert_eq!(view.quantile(0.0), 2.0);
        assert_eq!((samples.min(), samples.max()), (2.0, 9.0));
    }

    /// Check that of more samples than are kept the quantiles are right to within a bucket's width, and that the
    /// extremes and the mean are exact.
    #[test]
    fn many() {
        let samples = samples((1..=300_000).map(|n| n * 10));
        let view = samples.view();
        assert_eq!(samples.kept().len(), EXACT);
        assert_eq!((samples.min(), samples.max()), (0.01, 3000.0));
        assert!((samples.mean() - 1500.005).abs() < 1e-6);
        for share in [0.1, 0.5, 0.9, 0.99, 0.999] {
            let exact = 3000.0 * share;
            assert!((view.quantile(share) / exact - 1.0).abs() < 0.02, "{share}");
        }
        let buckets = view.buckets(Scale::Linear(10));
        assert_eq!(buckets.iter().map(|b| b.count).sum::<u64>(), 300_000);
        // The fine bucket at an end of one of these is up to 1/32 wide: 64 us at 2,048 us, with 100 samples for each.
        for bucket in buckets {
            assert!(bucket.count.abs_diff(30_000) <= 6_400, "{bucket:?}");
        }
    }

    /// Check that the histogram of equal times is a microsecond wide with all of them in one bucket, and that the
    /// histogram of no times has no bucket.
    #[test]
    fn degenerate() {
        let same = samples([5_000; 3]);
        let buckets = same.view().buckets(Scale::Linear(20));
        assert_eq!((buckets[0].low, buckets[19].high), (5.0, 6.0));
        assert_eq!(buckets[0].count, 3);
        let zero = samples([0]);
        assert_eq!(zero.view().buckets(Scale::Logarithmic)[0].count, 1);
        assert!(samples([]).view().buckets(Scale::Logarithmic).is_empty());
        assert_eq!(samples([]).view().quantile(0.5), 0.0);
    }
}
