//! How often things were seen, by several of their properties, with rates: as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::show::escape::Escaped;

/// Counts by `N` properties, such as operation and thread.
#[derive(Clone, Debug)]
pub struct Counts<const N: usize> {
    what: &'static str,
    properties: [&'static str; N],
    counts: [BTreeMap<String, u64>; N],
}

impl<const N: usize> Counts<N> {
    /// No counts yet. `what` is counted, "operations" for example.
    pub fn new(what: &'static str, properties: [&'static str; N]) -> Self {
        Self {
            what,
            properties,
            counts: std::array::from_fn(|_| BTreeMap::new()),
        }
    }

    /// Counts one, which has these properties. Names that other processes chose are given as they are.
    pub fn add(&mut self, values: [&str; N]) {
        for (counts, value) in self.counts.iter_mut().zip(values) {
            match counts.get_mut(value) {
                Some(count) => *count += 1,
                None => drop(counts.insert(value.to_string(), 1)),
            }
        }
    }

    /// Returns what was counted in the time `elapsed`, and begins to count anew.
    pub fn take(&mut self, elapsed: Duration) -> Report<N> {
        let empty = Self::new(self.what, self.properties);
        Report {
            counts: std::mem::replace(self, empty),
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// What was counted in some time.
#[derive(Debug)]
pub struct Report<const N: usize> {
    counts: Counts<N>,
    seconds: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    count: u64,
    /// None if no time has passed.
    per_second: Option<f64>,
}

impl<const N: usize> Report<N> {
    /// The values of a property, the most frequent first.
    fn lines(&self, property: usize) -> Vec<Line<'_>> {
        let counts = self.counts.counts[property].iter();
        let mut lines: Vec<Line<'_>> = counts
            .map(|(name, count)| Line {
                name,
                count: *count,
                per_second: (self.seconds > 0.0).then(|| *count as f64 / self.seconds),
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines
    }
}

impl<const N: usize> Display for Report<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.counts.counts[0].values().sum();
        write!(f, "{total} {} in {:.1} s", self.counts.what, self.seconds)?;
        for (i, property) in self.counts.properties.iter().enumerate() {
            write!(f, "\n  by {property}")?;
            for line in self.lines(i) {
                let rate = line.per_second.unwrap_or_default();
                let name = Escaped::text(line.name);
                write!(f, "\n    {:>10} {rate:>10.1}/s  {name}", line.count)?;
            }
        }
        Ok(())
    }
}

/// `{"seconds": 1.0, "by_operation": [{"name": "put", "count": 3, "per_second": 3.0}]}`
impl<const N: usize> Serialize for Report<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;

        let mut map = serializer.serialize_map(Some(1 + N))?;
        map.serialize_entry("seconds", &self.seconds)?;
        for (i, property) in self.counts.properties.iter().enumerate() {
            map.serialize_entry(&format!("by_{property}"), &self.lines(i))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that counts and rates are right, the most frequent first, in text and JSON, and that a report begins anew.
    #[test]
    fn report() {
        let mut counts = Counts::new("operations", ["operation", "thread"]);
        for operation in ["put", "del", "put"] {
            counts.add([operation, "handler1"]);
        }
        let report = counts.take(Duration::from_secs(2));
        assert_eq!(
            report.to_string(),
            "3 operations in 2.0 s\n  by operation\n             2        1.0/s  put\n             1        0.5/s  del\n  \
             by thread\n             3        1.5/s  handler1"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["by_operation"][1]["name"], "del");
        assert_eq!(json["by_thread"][0]["per_second"], 1.5);
        let none = counts.take(Duration::ZERO);
        assert!(none.to_string().starts_with("0 operations in 0.0 s"));
    }

    /// Check that a name which another process chose is escaped for a terminal, and is in JSON as it is.
    #[test]
    fn hostile_names() {
        let mut counts = Counts::new("operations", ["thread"]);
        counts.add(["h\u{202e}\u{2066}\n"]);
        let report = counts.take(Duration::from_secs(1));
        assert!(report.to_string().ends_with("/s  h\\u{202e}\\u{2066}\\n"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["by_thread"][0]["name"], "h\u{202e}\u{2066}\n");
    }
}
