//! Counts the sets and batches that the matcher finds, in memory that does not grow with their number.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;

use super::event::short_datapath;
use super::groups::{Group, Groups};
use super::histogram::Samples;
use super::matcher::{Found, Set};
use super::stage::{STAGES, Stage, begin, duration};
use super::timeline::Timeline;

/// One of the slowest upcalls.
pub struct Slow {
    /// The nanoseconds from its first known event to its last.
    pub duration: u64,
    /// The time of its first known event.
    pub time: u64,
    /// The nanoseconds of each of [`Stage::PARTS`].
    pub parts: [Option<u64>; 4],
    /// The nanoseconds of each of [`Stage::KERNEL`].
    pub kernel: [Option<u64>; 4],
    /// The errno with which its put and its execute failed.
    pub put_error: Option<i32>,
    pub execute_error: Option<i32>,
    pub comm: Vec<u8>,
    pub tid: u32,
    pub cpu: u32,
    pub datapath: Vec<u8>,
    pub device: Vec<u8>,
    pub port: Option<u32>,
    pub batch: usize,
    pub packet_len: u32,
    pub packet: Vec<u8>,
    pub key_len: u32,
    pub key: Vec<u8>,
    pub ufid: Option<[u8; 16]>,
    number: u64,
}

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Slow {}
impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
/// The fastest upcall is the greatest, and of equally slow ones the last.
impl Ord for Slow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |slow: &Self| (Reverse(slow.duration), slow.number);
        key(self).cmp(&key(other))
    }
}

/// How many upcalls a thread handled.
pub struct Handler {
    pub tid: u32,
    pub comm: Vec<u8>,
    pub upcalls: u64,
}

/// Batches of up to this size are counted by size.
pub const BATCH_SIZES: usize = 64;

/// Everything that is counted of sets and batches.
pub struct Stats {
    /// The times of each stage, in the order of [`Stage::ALL`].
    pub stages: [Samples; STAGES],
    /// How many sets begin with a kernel upcall.
    pub sets: u64,
    /// How many sets there are.
    pub received: u64,
    handlers: HashMap<u32, Handler, RandomState>,
    /// How many batches there are of each size, from 1 on; the last count is of those larger than [`BATCH_SIZES`].
    pub batches: [u64; BATCH_SIZES + 1],
    pub largest_batch: usize,
    pub by_handler: Groups,
    pub by_port: Groups,
    pub by_datapath: Groups,
    by_batch: Groups,
    slowest: BinaryHeap<Slow>,
    /// How many of the slowest upcalls are kept.
    keep: usize,
    /// Exists if it is to be drawn and there is a set.
    pub timeline: Option<Timeline>,
    draw: bool,
    /// A buffer for the keys of groups.
    key: Vec<u8>,
}

/// How many threads are counted.
const MAX_HANDLERS: usize = 1 << 16;

impl Stats {
    /// Keeps the `slowest` upcalls, and counts a timeline if one is to be drawn.
    pub fn new(slowest: usize, draw: bool) -> Self {
        Self {
            stages: Default::default(),
            sets: 0,
            received: 0,
            handlers: HashMap::default(),
            batches: [0; BATCH_SIZES + 1],
            largest_batch: 0,
            by_handler: Groups::default(),
            by_port: Groups::default(),
            by_datapath: Groups::default(),
            by_batch: Groups::default(),
            slowest: BinaryHeap::new(),
            keep: slowest,
            timeline: None,
            draw,
            key: Vec::new(),
        }
    }

    /// Counts what the matcher found.
    pub fn found(&mut self, found: &Found<'_>) {
        match found {
            Found::Set(set) => self.set(set),
            Found::Batch { comm, tid, size } => {
                let place = (*size).clamp(1, BATCH_SIZES + 1) - 1;
                self.batches[place] += 1;
                self.largest_batch = self.largest_batch.max(*size);
                if self.handlers.len() < MAX_HANDLERS || self.handlers.contains_key(tid) {
                    let handler = self.handlers.entry(*tid).or_insert_with(|| Handler {
                        tid: *tid,
                        comm: comm.to_vec(),
                        upcalls: 0,
                    });
                    handler.upcalls += *size as u64;
                }
            }
        }
    }

    fn set(&mut self, set: &Set<'_>) {
        self.sets += u64::from(set.upcall.is_some());
        self.received += 1;
        for (samples, stage) in self.stages.iter_mut().zip(Stage::ALL) {
            if let Some(ns) = stage.of(set) {
                samples.add(ns);
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let comm = || text(set.comm);
        self.by_handler.add(&set.tid.to_be_bytes(), comm, set);
        let datapath = short_datapath(set.datapath);
        self.by_datapath.add(datapath, || text(datapath), set);
        self.key.clear();
        self.key.extend_from_slice(datapath);
        self.key.push(0);
        match set.port {
            Some(port) => self.key.extend_from_slice(&port.to_be_bytes()),
            None => self.key.extend_from_slice(set.device),
        }
        let port = || {
            let device = match set.port {
                _ if !set.device.is_empty() => text(set.device),
                Some(port) => format!("port {port}"),
                None => "unknown port".to_string(),
            };
            format!("{device} ({})", text(datapath))
        };
        self.by_port.add(&self.key, port, set);
        let size = set.batch;
        let class = match size {
            0..=1 => 0,
            _ => (size - 1).ilog2() + 1,
        };
        let range = || match class {
            0 => "1".to_string(),
            1 => "2".to_string(),
            2..=6 => format!("{} - {}", (1 << (class - 1)) + 1, 1 << class),
            _ => "> 64".to_string(),
        };
        self.by_batch.add(&[class.min(7) as u8], range, set);
        if self.draw {
            self.timeline
                .get_or_insert_with(|| Timeline::new(begin(set)))
                .add(set);
        }
        self.slow(set);
    }

    fn slow(&mut self, set: &Set<'_>) {
        let duration = duration(set);
        if self.slowest.len() >= self.keep {
            // The greatest of the heap is the fastest upcall.
            if self
                .slowest
                .peek()
                .is_none_or(|fastest| fastest.duration >= duration)
            {
                return;
            }
            self.slowest.pop();
        }
        self.slowest.push(Slow {
            duration,
            time: begin(set),
            parts: Stage::PARTS.map(|stage| stage.of(set)),
            kernel: Stage::KERNEL.map(|stage| stage.of(set)),
            put_error: set.put_request.and_then(|request| request.error),
            execute_error: set.execute_request.and_then(|request| request.error),
            comm: set.comm.to_vec(),
            tid: set.tid,
            cpu: set.cpu,
            datapath: set.datapath.to_vec(),
            device: set.device.to_vec(),
            port: set.port,
            batch: set.batch,
            packet_len: set.packet.len,
            packet: set.packet.bytes.to_vec(),
            key_len: set.key.len,
            key: set.key.bytes.to_vec(),
            ufid: set.ufid,
            number: self.received,
        });
    }

    /// The slowest upcalls, the slowest first.
    pub fn slowest(&self) -> Vec<&Slow> {
        let mut slowest: Vec<&Slow> = self.slowest.iter().collect();
        slowest.sort();
        slowest
    }

    /// The threads in the order of their names.
    pub fn handlers(&self) -> Vec<&Handler> {
        let mut handlers: Vec<&Handler> = self.handlers.values().collect();
        handlers.sort_by(|a, b| (&a.comm, a.tid).cmp(&(&b.comm, b.tid)));
        handlers
    }

    /// The groups by batch size, the smallest first.
    pub fn by_batch(&self) -> Vec<&Group> {
        self.by_batch.by_key()
    }
}
