//! Computes the logarithmic axis of a picture: the places of times on it, and which times have labels.

use super::timeline::{FIRST_POWER, ROWS, Timeline, row_start};

/// Formats a time in nanoseconds in the unit that suits it.
pub fn human(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    match value {
        v if v >= 99.95 => format!("{v:.0} {unit}"),
        v if v >= 9.95 || (v - v.round()).abs() < 0.005 => format!("{v:.0} {unit}"),
        v => format!("{v:.1} {unit}"),
    }
}

/// The rows that the axis has: those of the timeline that are used.
#[derive(Clone, Copy)]
pub struct Rows {
    pub first: usize,
    pub end: usize,
}

impl Rows {
    pub fn of(timeline: &Timeline) -> Self {
        let used = |row: &usize| {
            let mut columns = timeline.cells.iter().flatten();
            columns.any(|column| column[*row] > 0)
        };
        // Both ends are powers of two.
        let first = (0..ROWS).find(used).unwrap_or(0) / 4 * 4;
        let end = (0..ROWS).rev().find(used).unwrap_or(0) / 4 * 4 + 4;
        Self { first, end }
    }

    pub fn len(self) -> usize {
        self.end - self.first
    }

    /// The place of a time in nanoseconds, from 0 to 1.
    pub fn place(self, ns: f64) -> f64 {
        let power = ns.max(1.0).log2().floor();
        let quarters = (power - f64::from(FIRST_POWER)) * 4.0 + (ns / power.exp2() - 1.0) * 4.0;
        ((quarters - self.first as f64) / self.len() as f64).clamp(0.0, 1.0)
    }

    /// The times, in nanoseconds, that have a label on an axis of this `length` where a label takes `gap`: powers of
    /// ten, fewer if there is no room for all, and 2 and 5 times or 3 times each if there is room for more.
    pub fn ticks(self, length: f64, gap: f64) -> Vec<f64> {
        let (low, high) = (row_start(self.first), row_start(self.end));
        let decade = length / (high / low).log10();
        let steps: &[f64] = if decade * 2f64.log10() > gap {
            &[1.0, 2.0, 5.0]
        } else if decade * 3f64.log10() > gap {
            &[1.0, 3.0]
        } else {
            &[1.0]
        };
        let every = (gap / decade).ceil().max(1.0) as usize;
        (0..12)
            .step_by(every)
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    }
}

/// Formats a count in few characters.
pub fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{} k", count / 1000),
        _ => format!("{} M", count / 1_000_000),
    }
}
