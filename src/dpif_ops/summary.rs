//! How many operations there were: by operation, thread and datapath.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;

use crate::dpif_ops::text::Row;
use crate::show::escape::Escaped;

/// Counts of operations by what each part of the summary is about.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    parts: [BTreeMap<String, u64>; 3],
}

/// The parts, in their order.
const PARTS: [&str; 3] = ["operation", "thread", "datapath"];

impl Counts {
    pub fn add(&mut self, row: &Row<'_>) {
        let thread = format!("{} ({})", Escaped(row.op.comm), row.op.tid);
        let names = [row.title(), thread, row.datapath_text()];
        for (part, name) in self.parts.iter_mut().zip(names) {
            *part.entry(name).or_default() += 1;
        }
    }

    /// What was counted, as a summary of so long a time.
    pub fn report(&self, elapsed: Duration) -> Report {
        let seconds = elapsed.as_secs_f64();
        let line = |(name, count): (&String, &u64)| Line {
            name: name.clone(),
            count: *count,
            rate: *count as f64 / seconds.max(1e-9),
        };
        let lines = |part: &BTreeMap<String, u64>| {
            let mut lines: Vec<Line> = part.iter().map(line).collect();
            lines.sort_by_key(|line| std::cmp::Reverse(line.count));
            lines
        };
        let [by_operation, by_thread, by_datapath] = self.parts.each_ref().map(lines);
        Report {
            seconds,
            by_operation,
            by_thread,
            by_datapath,
        }
    }
}

/// Operations of a time, the most frequent first.
#[derive(Debug, Serialize)]
pub struct Report {
    pub seconds: f64,
    pub by_operation: Vec<Line>,
    pub by_thread: Vec<Line>,
    pub by_datapath: Vec<Line>,
}

#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub count: u64,
    /// A second.
    pub rate: f64,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.by_operation.iter().map(|line| line.count).sum();
        write!(f, "{total} operations in {:.1} s", self.seconds)?;
        let parts = [&self.by_operation, &self.by_thread, &self.by_datapath];
        for (title, lines) in PARTS.into_iter().zip(parts) {
            write!(f, "\n  by {title}")?;
            for line in lines {
                let Line { name, count, rate } = line;
                write!(f, "\n    {count:>10} {rate:>10.1}/s  {name}")?;
            }
        }
        Ok(())
    }
}
