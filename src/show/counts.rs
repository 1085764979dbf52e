//! How often things were seen, by several of their properties, with rates, and how long they took: as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::show::escape::Escaped;
use crate::show::histogram::{Histogram, human};
use crate::show::number::number;

/// How many values of a property are counted separately: threads may come and go, or change their names, for as long as
/// a trace runs.
const MAX_VALUES: usize = 4096;
/// What all others are counted as.
const OTHERS: &str = "others";

/// Counts by several properties, such as operation and thread, in memory that is bounded.
#[derive(Clone, Debug)]
pub struct Counts {
    what: &'static str,
    properties: &'static [&'static str],
    counts: Vec<BTreeMap<String, Count>>,
}

#[derive(Clone, Debug, Default)]
struct Count {
    count: u64,
    times: Option<Box<Times>>,
}

#[derive(Clone, Debug)]
struct Times {
    histogram: Histogram,
    max_ns: u64,
}

impl Counts {
    /// No counts yet. `what` is counted, "operations" for example.
    pub fn new(what: &'static str, properties: &'static [&'static str]) -> Self {
        Self {
            what,
            properties,
            counts: vec![BTreeMap::new(); properties.len()],
        }
    }

    /// Counts one, which has these properties and took so many nanoseconds, if that is known. Names that other processes
    /// chose are given as they are. The times are those of the first property.
    pub fn add(&mut self, values: &[&str], mut duration: Option<u64>) {
        for (counts, &value) in self.counts.iter_mut().zip(values) {
            let mut value = value;
            if !counts.contains_key(value) {
                if counts.len() >= MAX_VALUES {
                    value = OTHERS;
                }
                counts.entry(value.to_string()).or_default();
            }
            if let Some(count) = counts.get_mut(value) {
                count.add(duration.take());
            }
        }
    }

    /// Returns what was counted in the time `elapsed`, and begins to count anew.
    pub fn take(&mut self, elapsed: Duration) -> Report {
        let empty = Self::new(self.what, self.properties);
        Report {
            counts: std::mem::replace(self, empty),
            seconds: elapsed.as_secs_f64(),
        }
    }
}

impl Count {
    fn add(&mut self, duration: Option<u64>) {
        self.count += 1;
        if let Some(duration) = duration {
            let none = || Times {
                histogram: Histogram::new([]),
                max_ns: 0,
            };
            let times = self.times.get_or_insert_with(|| none().into());
            times.histogram.add(duration);
            times.max_ns = times.max_ns.max(duration);
        }
    }
}

/// What was counted in some time.
#[derive(Debug)]
pub struct Report {
    counts: Counts,
    seconds: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    count: u64,
    /// None if no time has passed.
    per_second: Option<f64>,
    #[serde(flatten)]
    times: Option<Figures>,
}

/// Of the times that were counted, in nanoseconds; percentiles are at most 1.6 % off.
#[derive(Serialize)]
struct Figures {
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl Times {
    fn figures(&self) -> Figures {
        let quantile = |share| {
            let bucket = self.histogram.quantile(share).unwrap_or_default();
            bucket.start.midpoint(bucket.end).min(self.max_ns)
        };
        Figures {
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            max_ns: self.max_ns,
        }
    }
}

impl Report {
    /// The values of a property, the most frequent first.
    fn lines(&self, property: usize) -> Vec<Line<'_>> {
        let counts = self.counts.counts[property].iter();
        let mut lines: Vec<Line<'_>> = counts
            .map(|(name, count)| Line {
                name,
                count: count.count,
                per_second: (self.seconds > 0.0).then(|| count.count as f64 / self.seconds),
                times: count.times.as_ref().map(|times| times.figures()),
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.counts.counts.iter().take(1).flatten();
        let total: u64 = first.map(|(_, count)| count.count).sum();
        let things = number(total, self.counts.what);
        write!(f, "{things} in {:.1} s", self.seconds)?;
        if total == 0 {
            return Ok(());
        }
        for (i, property) in self.counts.properties.iter().enumerate() {
            write!(f, "\n  by {property}")?;
            for line in self.lines(i) {
                let rate = line.per_second.unwrap_or_default();
                let name = Escaped::text(line.name);
                write!(f, "\n    {:>10} {rate:>10.1}/s  ", line.count)?;
                match &line.times {
                    None => write!(f, "{name}")?,
                    Some(times) => {
                        let Figures {
                            p50_ns,
                            p99_ns,
                            max_ns,
                        } = times;
                        let [p50, p99, max] = [p50_ns, p99_ns, max_ns].map(|ns| human(*ns));
                        write!(f, "{name:<20} p50 {p50}, p99 {p99}, max {max}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// `{"seconds": 1.0, "by_operation": [{"name": "put", "count": 3, "per_second": 3.0}]}`
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;

        let mut map = serializer.serialize_map(Some(1 + self.counts.properties.len()))?;
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
        let mut counts = Counts::new("operations", &["operation", "thread"]);
        for operation in ["put", "del", "put"] {
            counts.add(&[operation, "handler1"], None);
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
        assert_eq!(none.to_string(), "0 operations in 0.0 s");
    }

    /// Check that times are those of the first property, and that nothing is said of times where none are known.
    #[test]
    fn times() {
        let mut counts = Counts::new("operations", &["operation", "thread"]);
        for time in (1..=100).map(|n| n * 1000) {
            counts.add(&["put", "handler1"], Some(time));
        }
        counts.add(&["del", "handler1"], None);
        let report = counts.take(Duration::from_secs(1));
        let text = report.to_string();
        let put = "\n           100      100.0/s  put                  p50 ";
        assert!(text.contains(put), "{text}");
        assert!(text.contains(", max 100.00 us\n             1        1.0/s  del\n  by thread\n"));
        let json = serde_json::to_value(&report).unwrap();
        let put = &json["by_operation"][0];
        for (name, about) in [("p50_ns", 50_000), ("p99_ns", 99_000)] {
            let time = put[name].as_u64().unwrap();
            assert!(time.abs_diff(about) * 50 < about, "{name}: {time}");
        }
        assert_eq!(put["max_ns"], 100_000);
        assert_eq!(json["by_operation"][1].get("max_ns"), None);
        assert_eq!(json["by_thread"][0].get("max_ns"), None);
    }

    /// Check that no number of threads takes more than so much memory, and that each operation is counted all the same.
    #[test]
    fn many_threads() {
        let mut counts = Counts::new("operations", &["operation", "thread"]);
        let threads = MAX_VALUES + 1000;
        for tid in 0..threads {
            counts.add(&["put", &format!("handler ({tid})")], None);
        }
        let json = serde_json::to_value(counts.take(Duration::from_secs(1))).unwrap();
        assert_eq!(json["by_operation"][0]["count"], threads);
        let by_thread = json["by_thread"].as_array().unwrap();
        assert_eq!(by_thread.len(), MAX_VALUES + 1);
        assert_eq!(by_thread[0]["name"], "others");
        assert_eq!(by_thread[0]["count"], 1000);
    }

    /// Check that a name which another process chose is escaped for a terminal, and is in JSON as it is.
    #[test]
    fn hostile_names() {
        let mut counts = Counts::new("operations", &["thread"]);
        counts.add(&["h\u{202e}\u{2066}\n"], None);
        let report = counts.take(Duration::from_secs(1));
        assert!(report.to_string().ends_with("/s  h\\u{202e}\\u{2066}\\n"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["by_thread"][0]["name"], "h\u{202e}\u{2066}\n");
    }
}
