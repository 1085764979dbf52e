//! What is counted of the sets, in memory that does not grow with them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;

use super::event::short_datapath;
use super::histogram::Samples;
use super::matcher::{Found, Set};
use crate::show::histogram::Histogram;

/// A part of an upcall's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Kernel upcall to vswitchd receive.
    Queue,
    /// vswitchd execute to kernel receive.
    Execute,
    /// All but the time from the receive to the flow put.
    Overhead,
    /// Kernel upcall to kernel packet execute.
    Total,
    /// Receive to the next upcall of the batch, or to its first operation.
    Lookup,
    /// The rest of the batch: from the end of the lookup to the execute.
    Batch,
}

pub const STAGES: usize = 6;

impl Stage {
    /// Those of `upcall_cost.py` first, in its order.
    pub const ALL: [Self; STAGES] = [
        Self::Queue,
        Self::Execute,
        Self::Overhead,
        Self::Total,
        Self::Lookup,
        Self::Batch,
    ];

    /// Those that an upcall passes one after the other: their sum is [`Stage::Total`].
    pub const PARTS: [Self; 4] = [Self::Queue, Self::Lookup, Self::Batch, Self::Execute];

    /// The titles of `upcall_cost.py`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Queue => "Kernel upcall action to vswitchd receive",
            Self::Execute => "vswitchd execute to kernel receive",
            Self::Overhead => "Upcall overhead (total time minus lookup)",
            Self::Total => "Kernel upcall to kernel packet execute",
            Self::Lookup => "vswitchd lookup of the upcall itself",
            Self::Batch => "vswitchd rest of the batch, lookup to execute",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Execute => "execute",
            Self::Overhead => "overhead",
            Self::Total => "total",
            Self::Lookup => "lookup",
            Self::Batch => "batch",
        }
    }

    /// Nanoseconds that a set took for it, if it has its ends.
    pub fn of(self, set: &Set<'_>) -> Option<u64> {
        let between = |from: u64, to: u64| to.saturating_sub(from);
        match self {
            Self::Queue => Some(between(set.upcall?, set.receive)),
            Self::Execute => Some(between(set.execute?, set.kernel?)),
            Self::Overhead => {
                let lookup = between(set.receive, set.put?);
                Some(between(set.upcall?, set.kernel?).saturating_sub(lookup))
            }
            Self::Total => Some(between(set.upcall?, set.kernel?)),
            Self::Lookup => Some(between(set.receive, set.looked_up?)),
            Self::Batch => Some(between(set.looked_up?, set.execute?)),
        }
    }
}

/// Nanoseconds from the kernel's upcall, or from the receive if that is all that is known, to the last event of the set.
fn duration(set: &Set<'_>) -> u64 {
    let last = [
        Some(set.receive),
        set.looked_up,
        set.put,
        set.execute,
        set.kernel,
    ];
    let last = last.into_iter().flatten().max().unwrap_or(set.receive);
    last.saturating_sub(begin(set))
}

/// The first that is known of a set.
fn begin(set: &Set<'_>) -> u64 {
    set.upcall.unwrap_or(set.receive)
}

/// Upcalls that have something in common.
pub struct Group {
    pub name: String,
    /// The name is of what an upcall had that was put together with the kernel's.
    named: bool,
    pub count: u64,
    /// Of [`Stage::Queue`], [`Stage::Lookup`] and [`Stage::Total`].
    pub stages: [Part; 3],
}

pub const GROUP_STAGES: [Stage; 3] = [Stage::Queue, Stage::Lookup, Stage::Total];

/// Times of a group.
pub struct Part {
    histogram: Histogram,
    pub count: u64,
    pub max: u64,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            histogram: Histogram::new([]),
            count: 0,
            max: 0,
        }
    }
}

impl Part {
    fn add(&mut self, ns: u64) {
        self.histogram.add(ns);
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// Nanoseconds that `share` of all are not longer than, at most 1/32 too many.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let bucket = self.histogram.quantile(share)?;
        Some(bucket.end.saturating_sub(1).min(self.max))
    }
}

/// The groups of one kind. Beyond [`MAX_GROUPS`] all are one.
#[derive(Default)]
pub struct Groups {
    numbers: HashMap<Vec<u8>, usize, RandomState>,
    groups: Vec<Group>,
}

pub const MAX_GROUPS: usize = 512;

impl Groups {
    fn add(&mut self, key: &[u8], name: impl Fn() -> String, set: &Set<'_>) {
        let number = match self.numbers.get(key) {
            Some(number) => *number,
            None => {
                let full = self.groups.len() >= MAX_GROUPS;
                if !full || self.groups.len() == MAX_GROUPS {
                    self.groups.push(Group {
                        name: if full { "others".to_string() } else { name() },
                        named: full || set.upcall.is_some(),
                        count: 0,
                        stages: Default::default(),
                    });
                }
                let number = self.groups.len() - 1;
                if !full {
                    self.numbers.insert(key.to_vec(), number);
                }
                number
            }
        };
        let group = &mut self.groups[number];
        if !group.named && set.upcall.is_some() {
            group.name = name();
            group.named = true;
        }
        group.count += 1;
        for (part, stage) in group.stages.iter_mut().zip(GROUP_STAGES) {
            if let Some(ns) = stage.of(set) {
                part.add(ns);
            }
        }
    }

    /// Those with the most upcalls first.
    pub fn by_count(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| Reverse(group.count));
        groups
    }

    /// In the order of their keys.
    fn by_key(&self) -> Vec<&Group> {
        let mut keys: Vec<_> = self.numbers.iter().collect();
        keys.sort();
        keys.into_iter()
            .map(|(_, number)| &self.groups[*number])
            .collect()
    }
}

/// One of the slowest.
pub struct Slow {
    /// Nanoseconds.
    pub duration: u64,
    pub time: u64,
    /// Nanoseconds of each of [`Stage::PARTS`].
    pub parts: [Option<u64>; 4],
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
/// The fastest is the greatest, and of those as slow the last.
impl Ord for Slow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |slow: &Self| (Reverse(slow.duration), slow.number);
        key(self).cmp(&key(other))
    }
}

/// Upcalls of one thread.
pub struct Handler {
    pub tid: u32,
    pub comm: Vec<u8>,
    pub upcalls: u64,
}

/// How many sizes of batches are told apart.
pub const BATCH_SIZES: usize = 64;

/// The course of each of [`Stage::PARTS`] and of [`Stage::Total`] over time, for a picture.
pub struct Timeline {
    /// Time of the first column.
    pub start: u64,
    /// Nanoseconds of a column.
    pub step: u64,
    /// By stage, column and row: how many upcalls.
    pub cells: Vec<[[u32; ROWS]; COLUMNS]>,
    /// The last column that is used.
    pub last: usize,
}

pub const COLUMNS: usize = 240;
/// Rows of a timeline, four for each power of two of nanoseconds from 2^[`FIRST_POWER`] on.
pub const ROWS: usize = 4 * 27;
pub const FIRST_POWER: u32 = 8;
pub const DRAWN: [Stage; 5] = [
    Stage::Queue,
    Stage::Lookup,
    Stage::Batch,
    Stage::Execute,
    Stage::Total,
];

/// The row of a time.
fn row(ns: u64) -> usize {
    let Some(power) = ns.checked_ilog2().filter(|power| *power >= FIRST_POWER) else {
        return 0;
    };
    let quarter = ns >> (power - 2) & 3;
    ((power - FIRST_POWER) as usize * 4 + quarter as usize).min(ROWS - 1)
}

/// The least time of a row, in nanoseconds.
pub fn row_start(row: usize) -> f64 {
    let power = FIRST_POWER + (row / 4) as u32;
    (1u64 << power) as f64 * (1.0 + (row % 4) as f64 / 4.0)
}

impl Timeline {
    fn new(start: u64) -> Self {
        Self {
            start,
            step: 1_000,
            cells: vec![[[0; ROWS]; COLUMNS]; DRAWN.len()],
            last: 0,
        }
    }

    fn add(&mut self, set: &Set<'_>) {
        // What is a little older than the first belongs to it.
        let after = begin(set).saturating_sub(self.start);
        while after / self.step >= COLUMNS as u64 {
            self.halve();
        }
        let column = (after / self.step) as usize;
        self.last = self.last.max(column);
        for (cells, stage) in self.cells.iter_mut().zip(DRAWN) {
            if let Some(ns) = stage.of(set) {
                let cell = &mut cells[column][row(ns)];
                *cell = cell.saturating_add(1);
            }
        }
    }

    /// Makes two columns one.
    fn halve(&mut self) {
        self.step = self.step.saturating_mul(2);
        // Behind the last that is used there is nothing to add.
        let used = self.last + 1;
        for cells in &mut self.cells {
            for column in 0..used {
                let pair = [2 * column, 2 * column + 1];
                let mut sum = [0u32; ROWS];
                for half in pair.into_iter().filter(|half| *half < used) {
                    for (sum, cell) in sum.iter_mut().zip(cells[half]) {
                        *sum = sum.saturating_add(cell);
                    }
                }
                cells[column] = sum;
            }
        }
        self.last /= 2;
    }
}

/// All that is counted of sets.
pub struct Stats {
    /// In the order of [`Stage::ALL`].
    pub stages: [Samples; STAGES],
    /// How many sets begin with the kernel's upcall, and how many there are.
    pub sets: u64,
    pub received: u64,
    handlers: HashMap<u32, Handler, RandomState>,
    /// Batches by size: the first is of size 1, the last of all that are larger than [`BATCH_SIZES`].
    pub batches: [u64; BATCH_SIZES + 1],
    pub largest_batch: usize,
    pub by_handler: Groups,
    pub by_port: Groups,
    pub by_datapath: Groups,
    by_batch: Groups,
    slowest: BinaryHeap<Slow>,
    keep: usize,
    /// Only if it is to be drawn.
    pub timeline: Option<Timeline>,
    draw: bool,
    key: Vec<u8>,
}

const MAX_HANDLERS: usize = 1 << 16;

impl Stats {
    /// `slowest` upcalls are kept, and a timeline if it is to be drawn.
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
            // The fastest of them.
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

    /// The slowest first.
    pub fn slowest(&self) -> Vec<&Slow> {
        let mut slowest: Vec<&Slow> = self.slowest.iter().collect();
        slowest.sort();
        slowest
    }

    /// In the order of their names.
    pub fn handlers(&self) -> Vec<&Handler> {
        let mut handlers: Vec<&Handler> = self.handlers.values().collect();
        handlers.sort_by(|a, b| (&a.comm, a.tid).cmp(&(&b.comm, b.tid)));
        handlers
    }

    pub fn by_batch(&self) -> Vec<&Group> {
        self.by_batch.by_key()
    }
}
