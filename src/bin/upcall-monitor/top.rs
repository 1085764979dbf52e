//! Who causes the upcalls: the summary by flow.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags};
use ovs_tracers::run::session::Daemon;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::flows::{Flow, Flows, Names, Report};

use crate::live::MAX_FLOWS;

/// How many threads have their names; the others have their numbers.
const MAX_THREADS: usize = 1 << 16;

/// Counts of upcalls by where they came from.
pub struct TopSources {
    /// Lines of each part of a summary.
    lines: usize,
    total: Flows,
    /// Counts of the interval that is not over yet; `None` if there are no intervals.
    recent: Option<Flows>,
    /// Times of the first and the last event.
    times: Option<(u64, u64)>,
    /// The names of threads.
    threads: HashMap<u32, String>,
}

impl TopSources {
    pub fn new(lines: usize, intervals: bool) -> Self {
        Self {
            lines,
            total: Flows::default(),
            recent: intervals.then(Flows::default),
            times: None,
            threads: HashMap::new(),
        }
    }

    pub fn upcall(&mut self, upcall: &Upcall<'_>) {
        let flow = Flow::of(upcall);
        self.add(&flow, 1);
        let time = upcall.time;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        let is_new = flow.tid != 0 && !self.threads.contains_key(&flow.tid);
        if is_new && self.threads.len() < MAX_THREADS {
            let name = String::from_utf8_lossy(upcall.comm).into_owned();
            self.threads.insert(flow.tid, name);
        }
    }

    fn add(&mut self, flow: &Flow, count: u64) {
        self.total.add(flow, count);
        if let Some(recent) = &mut self.recent {
            recent.add(flow, count);
        }
    }

    /// Counts upcalls that were lost and of which nothing else is known.
    fn add_unknown(&mut self, count: u64) {
        self.total.add_unknown(count);
        if let Some(recent) = &mut self.recent {
            recent.add_unknown(count);
        }
    }

    /// The sources of the interval, which took `elapsed`. The next one begins.
    pub fn interval(&mut self, elapsed: Duration, daemons: &[Daemon]) -> Option<Report> {
        let recent = self.recent.take()?;
        self.recent = Some(Flows::default());
        Some(self.report(&recent, elapsed.as_secs_f64(), daemons))
    }

    /// The sources of the whole run, which took `elapsed`. A recording is as long as its events are apart.
    pub fn whole(&self, replay: bool, elapsed: Duration, daemons: &[Daemon]) -> Report {
        let seconds = match self.times {
            Some((first, last)) if replay => (last - first) as f64 / 1e9,
            _ => elapsed.as_secs_f64(),
        };
        self.report(&self.total, seconds, daemons)
    }

    fn report(&self, flows: &Flows, seconds: f64, daemons: &[Daemon]) -> Report {
        let threads = &self.threads;
        let known = Known { daemons, threads };
        Report::new(flows, seconds, self.lines, &known)
    }
}

/// The name of the datapath, or its number if it has no name, and whose it is if several daemons are traced.
pub fn datapath_label(
    datapath: &[u8],
    number: Option<u32>,
    target: u32,
    daemons: &[Daemon],
) -> String {
    let name = match (datapath, number) {
        (b"", Some(number)) => number.to_string().into(),
        _ => String::from_utf8_lossy(datapath),
    };
    match daemons.get(target as usize) {
        Some(daemon) if daemons.len() > 1 => format!("{name} of {}", daemon.pid),
        _ => name.into_owned(),
    }
}

/// The names for the numbers in flows.
struct Known<'a> {
    daemons: &'a [Daemon],
    threads: &'a HashMap<u32, String>,
}

impl Known<'_> {
    /// The name of a flow's datapath, which may have become known since the flow was counted.
    fn datapath_name<'a>(&'a self, flow: &'a Flow) -> &'a [u8] {
        let by_number = |number| {
            let daemon = self.daemons.get(flow.target as usize)?;
            daemon.ports.known_datapath(number)
        };
        let name = flow.dp_ifindex.and_then(by_number);
        name.unwrap_or(flow.datapath())
    }
}

impl Names for Known<'_> {
    fn datapath(&self, flow: &Flow) -> String {
        let name = self.datapath_name(flow);
        datapath_label(name, flow.dp_ifindex, flow.target, self.daemons)
    }

    fn port(&self, flow: &Flow) -> String {
        let Some(port) = flow.port else {
            return "Unknown".to_string();
        };
        let daemon = self.daemons.get(flow.target as usize);
        let name = daemon.and_then(|daemon| daemon.ports.known(self.datapath_name(flow), port));
        name.map_or_else(|| port.to_string(), str::to_string)
    }

    fn thread(&self, flow: &Flow) -> String {
        let tid = flow.tid;
        let daemon = self.daemons.get(flow.target as usize);
        // A thread that was only seen in lost upcalls has its name from /proc.
        let comm = || {
            let comm = fs::read(format!("/proc/{}/task/{tid}/comm", daemon?.pid)).ok()?;
            let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
            Some(String::from_utf8_lossy(comm).into_owned())
        };
        match self.threads.get(&tid).cloned().or_else(comm) {
            Some(name) => format!("{name} ({tid})"),
            None => tid.to_string(),
        }
    }
}

/// Upcalls that were not sent but counted by flow in the kernel: the lost ones, or those of which only the summary is
/// shown.
pub struct FlowCounts<'a, M: MapCore> {
    map: &'a M,
    /// Reads a key of the map.
    flow: fn(&[u8]) -> Option<Flow>,
    /// A table that has most of the flows, if there is one.
    places: Option<&'a M>,
    /// How many of each flow have been counted here.
    counted: HashMap<Flow, u64>,
    total: u64,
}

impl<'a, M: MapCore> FlowCounts<'a, M> {
    pub fn new(map: &'a M, flow: fn(&[u8]) -> Option<Flow>, places: Option<&'a M>) -> Self {
        Self {
            map,
            flow,
            places,
            counted: HashMap::new(),
            total: 0,
        }
    }

    /// Counts what came since this was last called.
    pub fn count(&mut self, sources: &mut TopSources) {
        let now = self.read();
        for (flow, new) in gains(&mut self.counted, now) {
            self.total += new;
            sources.add(&flow, new);
        }
    }

    /// How many there are until now, by key of the map and by place of the table.
    fn read(&self) -> Vec<(Flow, u64)> {
        let entries = self
            .map
            .lookup_batch(MAX_FLOWS, MapFlags::ANY, MapFlags::ANY);
        let mut counts = Vec::new();
        for (key, value) in entries.into_iter().flatten() {
            if let (Some(flow), Ok(count)) = ((self.flow)(&key), value.try_into()) {
                counts.push((flow, u64::from_ne_bytes(count)));
            }
        }
        if let Some(places) = self.places {
            counts.extend((0..places.max_entries()).flat_map(|place| flows_at(places, place)));
        }
        counts
    }

    /// Counts the rest at the end. `all` is how many there were in all: the flow of those that the program could not
    /// count by flow is unknown.
    pub fn finish(mut self, sources: &mut TopSources, all: u64) {
        self.count(sources);
        sources.add_unknown(all.saturating_sub(self.total));
    }
}

/// What each flow has more than `counted` says, which is brought up to date. A flow can be there several times: each CPU
/// has its own places, and userdata that differ can have one reason.
fn gains(counted: &mut HashMap<Flow, u64>, now: Vec<(Flow, u64)>) -> Vec<(Flow, u64)> {
    let mut sums: HashMap<Flow, u64> = HashMap::new();
    for (flow, count) in now {
        *sums.entry(flow).or_default() += count;
    }
    let gain = |(flow, count): (Flow, u64)| {
        let counted = counted.entry(flow).or_default();
        let new = count.saturating_sub(*counted);
        *counted += new;
        (flow, new)
    };
    sums.into_iter().map(gain).collect()
}

/// The flows that have a place, on one CPU or several.
fn flows_at(places: &impl MapCore, place: u32) -> Vec<(Flow, u64)> {
    let read = || {
        let values = places.lookup_percpu(&place.to_ne_bytes(), MapFlags::ANY);
        let values = values.ok().flatten().unwrap_or_default();
        let flows = values
            .iter()
            .filter_map(|value| Flow::from_flow_place(value));
        flows.collect::<Vec<_>>()
    };
    // Another CPU may see that a flow is complete just before it sees the whole flow. By the second read it does.
    match read().is_empty() {
        true => Vec::new(),
        false => read(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that counts of a flow from several places are a sum, and that only what is new is counted again.
    #[test]
    fn counts_of_one_flow() {
        let flow = |target| {
            Flow::of(&Upcall {
                target,
                ..Upcall::default()
            })
        };
        let mut counted = HashMap::new();
        let now = vec![(flow(1), 10), (flow(2), 7), (flow(1), 5)];
        let mut first = gains(&mut counted, now);
        first.sort_unstable();
        assert_eq!(first, [(flow(1), 15), (flow(2), 7)]);
        let now = vec![(flow(1), 11), (flow(2), 7), (flow(1), 5)];
        let mut second = gains(&mut counted, now);
        second.sort_unstable();
        assert_eq!(second, [(flow(1), 1), (flow(2), 0)]);
    }
}
