//! Puts the events of each upcall together, in one pass and in memory bounded by what is in flight.
//!
//! An upcall leaves the datapath (D), a handler thread receives it (R), asks the kernel to install a flow (P) and to
//! execute the actions on the packet (E), and the kernel begins to (K).
//!
//! D and R belong together if datapath, port, type, size and the bytes that both have are equal; the oldest D goes
//! first. Among equal ones those are preferred that were sent to a socket which this thread is known to read. P, E and
//! K are the thread's that received: a batch is a run of R, after which the thread handles what it received in that
//! order. P belongs to the upcall whose flow key it has, or, if the key is not known, to the next in order; E to the
//! next with the same packet; K to the oldest E that has none yet.
//!
//! What stays alone is counted by reason. Upcalls in flight are bounded by [`MAX_AGE`], [`MAX_WAITING`] and
//! [`MAX_BYTES`], and the batches of all threads together by [`MAX_HELD`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::RandomState;

use super::transport::Transport;
use super::{Event, Kind, short_datapath};
use crate::ovs::flow_key;
use crate::upcall::event::Captured;

/// Nanoseconds after which an upcall is no longer expected to be received: more than a daemon that is stuck, or stopped
/// for a while, takes. The upcalls that it gets then are those that one wants to see.
pub const MAX_AGE: u64 = 60_000_000_000;
/// How many upcalls may be in flight, and how many bytes of their packets. Sockets hold some thousands each.
pub const MAX_WAITING: usize = 1 << 17;
pub const MAX_BYTES: usize = 64 << 20;
/// A socket is first in, first out: an upcall that is this much older, in nanoseconds, than one that was received from
/// the same socket will not be received any more. CPUs that write to one socket may overtake each other by less.
const OVERTAKEN: u64 = 100_000_000;
/// Bytes of the batches of all threads; when they are more, all are closed.
pub const MAX_HELD: usize = 32 << 20;
/// Upcalls received before they left, as the events are ordered.
const MAX_EARLY: usize = 64;
/// Unsegmented packets of the tracepoint that are remembered.
const MAX_BIG: usize = 64;
/// Bytes; a packet that is larger may be unsegmented.
const BIG: u32 = 600;
/// Upcalls with the same hash that are looked at.
const MAX_STEPS: usize = 256;
/// A batch of Open vSwitch has 64 upcalls at most (`UPCALL_MAX_BATCH`). Upcalls that led to no operation add to the
/// next batch; operations are for one of the last that were received.
const MAX_BATCH: usize = 4096;
const MAX_OPERATED: usize = 256;
const MAX_THREADS: usize = 4096;
const MAX_SOCKETS: usize = 1 << 16;
const MAX_CPUS: usize = 1 << 14;
/// The most of a packet's beginning that is hashed.
const MAX_PREFIX: usize = 256;
/// Ways of hashing a packet that are tried to find it.
const MAX_CLASSES: usize = 64;
const NONE: u32 = u32::MAX;

/// A name that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; N];
        let len = name.len().min(N);
        bytes[..len].copy_from_slice(&name[..len]);
        Self(bytes)
    }

    fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(N);
        &self.0[..end]
    }
}

/// All events of an upcall. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    pub datapath: &'a [u8],
    pub device: &'a [u8],
    pub port: Option<u32>,
    pub upcall_type: u32,
    pub comm: &'a [u8],
    pub tid: u32,
    /// CPU on which it was received.
    pub cpu: u32,
    /// When the kernel sent it up; none if that is not known.
    pub upcall: Option<u64>,
    /// When the daemon had it.
    pub receive: u64,
    /// When the daemon went on to the next upcall of the batch, or to the first operation, if it is known not to have
    /// waited for an upcall in between.
    pub looked_up: Option<u64>,
    pub put: Option<u64>,
    pub execute: Option<u64>,
    /// When the kernel began to execute.
    pub kernel: Option<u64>,
    /// How many upcalls its batch had.
    pub batch: usize,
    pub packet: Captured<'a>,
    pub key: Captured<'a>,
    /// The unique id of the flow that was installed.
    pub ufid: Option<[u8; 16]>,
}

/// What the matcher finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Set(&'a Set<'a>),
    /// A thread received this many upcalls in a row.
    Batch {
        comm: &'a [u8],
        tid: u32,
        size: usize,
    },
}

/// Events that belong to no set, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// D: it failed.
    Failed,
    /// D: younger ones of the same socket were received.
    Overtaken,
    /// D: not received within [`MAX_AGE`].
    TimedOut,
    /// D: pushed out by [`MAX_WAITING`] or [`MAX_BYTES`].
    PushedOut,
    /// D: in flight at the end.
    InFlight,
    /// R: no D is equal to it.
    NoUpcall,
    /// P or E: the thread had received nothing that it could be for.
    NoBatch,
    /// P: of another flow than those received.
    OtherFlow,
    /// P: all that was received has one.
    NoPlace,
    /// E: of another packet than those received.
    OtherPacket,
    /// E: no K came.
    NotExecuted,
    /// K: its thread executed nothing.
    NoExecute,
    /// K: the size is that of no packet executed.
    OtherSize,
    /// The failure of an upcall that is not in flight.
    NoSuchUpcall,
}

impl Reason {
    /// What JSON calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Overtaken => "overtaken",
            Self::TimedOut => "timed_out",
            Self::PushedOut => "pushed_out",
            Self::InFlight => "in_flight",
            Self::NoUpcall => "no_upcall",
            Self::NoBatch => "no_batch",
            Self::OtherFlow => "other_flow",
            Self::NoPlace => "no_place",
            Self::OtherPacket => "other_packet",
            Self::NotExecuted => "not_executed",
            Self::NoExecute => "no_execute",
            Self::OtherSize => "other_size",
            Self::NoSuchUpcall => "no_such_upcall",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Failed => "failed in the kernel",
            Self::Overtaken => "not received, younger ones of the socket were",
            Self::TimedOut => "not received within a minute",
            Self::PushedOut => "not received, too many in flight",
            Self::InFlight => "not received at the end",
            Self::NoUpcall => "no kernel upcall like it",
            Self::NoBatch => "its thread had received nothing",
            Self::OtherFlow => "of no flow that was received",
            Self::NoPlace => "more than were received",
            Self::OtherPacket => "of no packet that was received",
            Self::NotExecuted => "the kernel was not seen to execute it",
            Self::NoExecute => "its thread had nothing to execute",
            Self::OtherSize => "of no packet that was to execute",
            Self::NoSuchUpcall => "of an upcall that is not known",
        }
    }
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// A list through [`Waiting::links`].
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
        }
    }
}

/// By age, by hash, by socket.
const AGE: usize = 0;
const CHAIN: usize = 1;
const SOCKET: usize = 2;

/// A D in flight.
struct Waiting {
    links: [Link; 3],
    number: u64,
    hash: u64,
    class: u32,
    time: u64,
    datapath: Name<32>,
    device: Name<16>,
    upcall_type: u32,
    port: Option<u32>,
    portid: u32,
    size: u32,
    /// Empty if there is none.
    checksum: Range<usize>,
    /// Payload received of an unsegmented packet.
    received: u32,
    bytes: Vec<u8>,
}

/// What is hashed of a packet: this many bytes of it, without those of an unfinished checksum.
#[derive(PartialEq, Eq)]
struct Class {
    len: usize,
    checksum: Range<usize>,
    /// Not all of the packet was captured.
    partial: bool,
    live: u32,
}

/// What of a D is told to its R.
#[derive(Clone, Copy)]
struct Upcall {
    time: u64,
    device: Name<16>,
}

/// A packet to be found.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    datapath: &'a [u8],
    upcall_type: u32,
    port: Option<u32>,
    size: u32,
    bytes: &'a [u8],
}

impl Waiting {
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        self.size == wanted.size
            && self.upcall_type == wanted.upcall_type
            && same_port(self.port, wanted.port)
            && self.datapath.bytes() == short_datapath(wanted.datapath)
            && same_bytes(&self.bytes, wanted.bytes, &self.checksum)
    }
}

fn same_port(a: Option<u32>, b: Option<u32>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Whether what is there of both is equal, a checksum aside.
fn same_bytes(a: &[u8], b: &[u8], checksum: &Range<usize>) -> bool {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let (start, end) = (checksum.start.min(len), checksum.end.min(len));
    len > 0 && a[..start] == b[..start] && a[end..] == b[end..]
}

/// How many bytes of a packet are hashed if this many were captured: not all lengths, so that there are few classes.
fn prefix(captured: usize) -> usize {
    if captured >= MAX_PREFIX {
        MAX_PREFIX
    } else if captured >= 8 {
        captured & !7
    } else {
        captured
    }
}

/// All D in flight.
#[derive(Default)]
struct Flight {
    slots: Vec<Waiting>,
    free: Vec<u32>,
    len: usize,
    bytes: usize,
    age: List,
    chains: HashMap<u64, List, RandomState>,
    sockets: HashMap<u32, List, RandomState>,
    classes: Vec<Class>,
    hasher: RandomState,
    next: u64,
    /// Which thread reads a socket.
    owners: HashMap<u32, u32, RandomState>,
    /// Unsegmented ones that the tracepoint saw, with their numbers.
    big: VecDeque<(u32, u64)>,
}

fn push(slots: &mut [Waiting], list: &mut List, which: usize, slot: u32) {
    slots[slot as usize].links[which] = Link {
        previous: list.last,
        next: NONE,
    };
    match list.last {
        NONE => list.first = slot,
        last => slots[last as usize].links[which].next = slot,
    }
    list.last = slot;
}

fn unlink(slots: &mut [Waiting], list: &mut List, which: usize, slot: u32) {
    let Link { previous, next } = slots[slot as usize].links[which];
    match previous {
        NONE => list.first = next,
        previous => slots[previous as usize].links[which].next = next,
    }
    match next {
        NONE => list.last = previous,
        next => slots[next as usize].links[which].previous = previous,
    }
}

impl Flight {
    fn hash(&self, class: &Class, size: u32, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let Range { start, end } = class.checksum;
        hasher.write_u64(u64::from(size) << 32 | (start as u64) << 16 | class.len as u64);
        let bytes = &bytes[..class.len];
        hasher.write(&bytes[..start]);
        hasher.write(&bytes[end..]);
        hasher.finish()
    }

    /// Counts one more of a class, and returns its number.
    fn class(&mut self, wanted: Class) -> usize {
        let known = self.classes.iter().position(|class| {
            (class.len, &class.checksum, class.partial)
                == (wanted.len, &wanted.checksum, wanted.partial)
        });
        if let Some(class) = known {
            self.classes[class].live += 1;
            return class;
        }
        let unused = self.classes.iter().position(|class| class.live == 0);
        match unused {
            Some(class) => {
                self.classes[class] = wanted;
                class
            }
            None if self.classes.len() < MAX_CLASSES || wanted.len == 0 => {
                self.classes.push(wanted);
                self.classes.len() - 1
            }
            // All that are too many are one, of which nothing but the size is hashed.
            None => self.class(Class {
                len: 0,
                checksum: 0..0,
                partial: true,
                live: 1,
            }),
        }
    }

    fn insert(&mut self, event: &Event<'_>) -> u32 {
        let bytes = event.packet.bytes;
        let len = prefix(bytes.len());
        let transport = event.unfinished.then(|| Transport::find(bytes)).flatten();
        let checksum = match (&event.checksum, transport) {
            (Some(at), _) => at.clone(),
            (None, Some(transport)) => transport.checksum(),
            (None, None) => 0..0,
        };
        let wanted = Class {
            len,
            checksum: checksum.start.min(len)..checksum.end.min(len),
            partial: bytes.len() < event.packet.len as usize,
            live: 1,
        };
        let class = self.class(wanted);
        let hash = self.hash(&self.classes[class], event.packet.len, bytes);
        let unlinked = Link {
            previous: NONE,
            next: NONE,
        };
        let mut waiting = Waiting {
            links: [unlinked; 3],
            number: self.next,
            hash,
            class: class as u32,
            time: event.time,
            datapath: Name::new(short_datapath(event.datapath)),
            device: Name::new(event.device),
            upcall_type: event.upcall_type,
            port: event.port,
            portid: event.portid,
            size: event.packet.len,
            checksum,
            received: 0,
            bytes: Vec::new(),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let place = &mut self.slots[slot as usize];
                waiting.bytes = std::mem::take(&mut place.bytes);
                waiting.bytes.extend_from_slice(bytes);
                *place = waiting;
                slot
            }
            None => {
                waiting.bytes.extend_from_slice(bytes);
                self.slots.push(waiting);
                (self.slots.len() - 1) as u32
            }
        };
        push(&mut self.slots, &mut self.age, AGE, slot);
        let chain = self.chains.entry(hash).or_default();
        push(&mut self.slots, chain, CHAIN, slot);
        if event.portid != 0 {
            let socket = self.sockets.entry(event.portid).or_default();
            push(&mut self.slots, socket, SOCKET, slot);
        }
        if event.unfinished && transport.is_some() && event.packet.len > BIG {
            if self.big.len() == MAX_BIG {
                self.big.pop_front();
            }
            self.big.push_back((slot, self.next));
        }
        self.next += 1;
        self.len += 1;
        self.bytes += bytes.len();
        slot
    }

    fn remove(&mut self, slot: u32) {
        let place = &self.slots[slot as usize];
        let (hash, portid, class) = (place.hash, place.portid, place.class as usize);
        unlink(&mut self.slots, &mut self.age, AGE, slot);
        if let Some(chain) = self.chains.get_mut(&hash) {
            unlink(&mut self.slots, chain, CHAIN, slot);
            if chain.first == NONE {
                self.chains.remove(&hash);
            }
        }
        if portid != 0
            && let Some(socket) = self.sockets.get_mut(&portid)
        {
            unlink(&mut self.slots, socket, SOCKET, slot);
            if socket.first == NONE {
                self.sockets.remove(&portid);
            }
        }
        self.classes[class].live -= 1;
        let place = &mut self.slots[slot as usize];
        // Nobody finds it by its number any more.
        place.number = u64::MAX;
        self.len -= 1;
        self.bytes -= place.bytes.len();
        place.bytes.clear();
        // One for each slot may be kept.
        if place.bytes.capacity() > MAX_PREFIX {
            place.bytes = Vec::new();
        }
        self.free.push(slot);
    }

    /// The D of what thread `tid` received, and whether no other is equal to it.
    fn find(&self, wanted: &Wanted<'_>, tid: u32) -> Option<(u32, bool)> {
        let own = prefix(wanted.bytes.len());
        // Of another thread's socket, number, slot.
        let mut best = None;
        let mut equal = 0;
        for class in &self.classes {
            if class.live == 0
                || class.len > wanted.bytes.len()
                || (class.len != own && !class.partial)
            {
                continue;
            }
            let hash = self.hash(class, wanted.size, wanted.bytes);
            let mut slot = self.chains.get(&hash).map_or(NONE, |chain| chain.first);
            for _ in 0..MAX_STEPS {
                let Some(waiting) = self.slots.get(slot as usize) else {
                    break;
                };
                if waiting.is(wanted) {
                    equal += 1;
                    let owner = self.owners.get(&waiting.portid);
                    let foreign = owner.is_some_and(|owner| *owner != tid);
                    let candidate = (foreign, waiting.number, slot);
                    if best.is_none_or(|best| candidate < best) {
                        best = Some(candidate);
                    }
                    // Those behind it are younger.
                    if !foreign && equal > 1 {
                        break;
                    }
                }
                slot = waiting.links[CHAIN].next;
            }
        }
        best.map(|(_, _, slot)| (slot, equal == 1))
    }

    /// The unsegmented D that `wanted` is the next segment of, and whether it is the last one.
    fn find_segmented(&self, wanted: &Wanted<'_>) -> Option<(u32, u32, bool)> {
        let of_segment = Transport::find(wanted.bytes)?;
        self.big.iter().find_map(|(slot, number)| {
            let waiting = self
                .slots
                .get(*slot as usize)
                .filter(|waiting| waiting.number == *number)?;
            let transport = Transport::find(&waiting.bytes)?;
            let whole = transport.payload(waiting.size);
            let payload = of_segment.payload(wanted.size);
            let fits = payload > 0
                && payload < whole
                && payload <= whole - waiting.received
                && waiting.upcall_type == wanted.upcall_type
                && same_port(waiting.port, wanted.port)
                && waiting.datapath.bytes() == short_datapath(wanted.datapath)
                && transport.is_segment(
                    &waiting.bytes,
                    &of_segment,
                    wanted.bytes,
                    waiting.received,
                );
            let received = waiting.received.saturating_add(payload);
            fits.then_some((*slot, received, received >= whole))
        })
    }
}

/// An R and what followed.
struct Entry {
    datapath: Name<32>,
    upcall_type: u32,
    port: Option<u32>,
    cpu: u32,
    upcall: Option<Upcall>,
    receive: u64,
    put: Option<u64>,
    /// It has this flow key.
    put_is_sure: bool,
    execute: Option<u64>,
    kernel: Option<u64>,
    ufid: Option<[u8; 16]>,
    packet_len: u32,
    packet: Vec<u8>,
    key_len: u32,
    key: Vec<u8>,
}

impl Entry {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            datapath: self.datapath.bytes(),
            upcall_type: self.upcall_type,
            port: self.port,
            size: self.packet_len,
            bytes: &self.packet,
        }
    }

    fn has_packet(&self, packet: &Captured<'_>) -> bool {
        self.packet_len == packet.len && same_bytes(&self.packet, packet.bytes, &(0..0))
    }

    /// Whether an attribute that may be cut is this key, which may be cut as well.
    fn has_key(&self, key: &flow_key::Attribute<'_>) -> bool {
        self.key_len as usize == key.payload_len() && same_bytes(&self.key, key.payload, &(0..0))
    }
}

/// A thread that receives upcalls.
struct Thread {
    tid: u32,
    comm: Name<16>,
    /// Those of the batch are the first `used`.
    entries: Vec<Entry>,
    used: usize,
    /// Number of the batch.
    batch: u64,
    /// When the first operation of the batch came.
    operated: Option<u64>,
    /// The entry that operations are for.
    at: usize,
    has_put: bool,
    has_execute: bool,
    /// E that the kernel has not begun to execute: their entries, if they have one, and their sizes.
    executing: VecDeque<(Option<usize>, u32)>,
}

impl Thread {
    /// Goes on to the next entry; tells whether there is one.
    fn next(&mut self) -> bool {
        if self.at + 1 >= self.used {
            return false;
        }
        self.at += 1;
        self.has_put = false;
        self.has_execute = false;
        true
    }

    /// The first entry from `at` on, or before it, that will do.
    fn entry(&self, mut will_do: impl FnMut(&Entry) -> bool) -> Option<usize> {
        let first = self.used.saturating_sub(MAX_OPERATED);
        let at = self.at.clamp(first, self.used);
        (at..self.used)
            .chain(first..at)
            .find(|i| will_do(&self.entries[*i]))
    }
}

/// An R that no D was found for yet.
struct Early {
    tid: u32,
    batch: u64,
    entry: usize,
    time: u64,
}

/// See the [module](self).
#[derive(Default)]
pub struct Matcher {
    flight: Flight,
    threads: HashMap<u32, Thread, RandomState>,
    early: VecDeque<Early>,
    /// The last D of each CPU: its packet in the kernel, slot and number.
    last: HashMap<u32, (u64, u32, u64), RandomState>,
    unmatched: BTreeMap<(Kind, Reason), u64>,
    /// Failed upcalls by errno.
    failed: BTreeMap<i32, u64>,
    untagged: Vec<u8>,
    /// Bytes that are allocated for the batches of all threads.
    held: usize,
}

impl Matcher {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>, found: &mut impl FnMut(Found<'_>)) {
        match event.kind {
            Kind::DpUpcall => self.upcall(event),
            Kind::DpFailed => self.failure(event),
            Kind::RecvUpcall => self.receive(event, found),
            Kind::OpFlowPut => self.put(event),
            Kind::OpFlowExecute => self.execute(event),
            Kind::OvsPktExec => self.kernel(event),
        }
    }

    /// There are no more events.
    pub fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.close_all(found);
        while self.flight.age.first != NONE {
            self.drop_upcall(self.flight.age.first, Reason::InFlight);
        }
    }

    /// How many events belong to no set, by reason.
    pub fn unmatched(&self) -> impl Iterator<Item = (Kind, Reason, u64)> {
        let counts = self.unmatched.iter();
        counts.map(|((kind, reason), count)| (*kind, *reason, *count))
    }

    /// How many upcalls failed, by errno.
    pub fn failed(&self) -> impl Iterator<Item = (i32, u64)> {
        self.failed.iter().map(|(errno, count)| (*errno, *count))
    }

    fn alone(&mut self, kind: Kind, reason: Reason) {
        *self.unmatched.entry((kind, reason)).or_default() += 1;
    }

    fn drop_upcall(&mut self, slot: u32, reason: Reason) {
        // A part of it was received.
        if self.flight.slots[slot as usize].received == 0 {
            self.alone(Kind::DpUpcall, reason);
        }
        self.flight.remove(slot);
    }

    fn upcall(&mut self, event: &Event<'_>) {
        self.evict(event.time);
        if let Some(upcall) = self.received_early(event) {
            let (tid, entry) = upcall;
            if let Some(thread) = self.threads.get_mut(&tid) {
                thread.entries[entry].upcall = Some(Upcall {
                    time: event.time,
                    device: Name::new(event.device),
                });
            }
            return;
        }
        let slot = self.flight.insert(event);
        if event.skb != 0 && (self.last.len() < MAX_CPUS || self.last.contains_key(&event.cpu)) {
            let number = self.flight.slots[slot as usize].number;
            self.last.insert(event.cpu, (event.skb, slot, number));
        }
    }

    /// The R, by thread and entry, whose event came before that of its D.
    fn received_early(&mut self, event: &Event<'_>) -> Option<(u32, usize)> {
        while self.early.front().is_some_and(|r| r.time < event.time) {
            self.early.pop_front();
        }
        let checksum = event.checksum.clone().unwrap_or(0..0);
        let position = self.early.iter().position(|early| {
            self.threads.get(&early.tid).is_some_and(|thread| {
                let entry = thread.entries.get(early.entry);
                thread.batch == early.batch
                    && entry.is_some_and(|entry| {
                        let wanted = entry.wanted();
                        wanted.size == event.packet.len
                            && wanted.upcall_type == event.upcall_type
                            && same_port(wanted.port, event.port)
                            && short_datapath(wanted.datapath) == short_datapath(event.datapath)
                            && same_bytes(wanted.bytes, event.packet.bytes, &checksum)
                    })
            })
        })?;
        let early = self.early.remove(position)?;
        Some((early.tid, early.entry))
    }

    /// Gives up what is in flight for too long, or too much.
    fn evict(&mut self, now: u64) {
        loop {
            let Some(oldest) = self.flight.slots.get(self.flight.age.first as usize) else {
                return;
            };
            let reason = if now.saturating_sub(oldest.time) > MAX_AGE {
                Reason::TimedOut
            } else if self.flight.len >= MAX_WAITING || self.flight.bytes >= MAX_BYTES {
                Reason::PushedOut
            } else {
                return;
            };
            self.drop_upcall(self.flight.age.first, reason);
        }
    }

    fn failure(&mut self, event: &Event<'_>) {
        *self
            .failed
            .entry(event.result.saturating_neg())
            .or_default() += 1;
        if event.skb == 0 {
            // It never got so far as to be queued.
            return;
        }
        let last = self.last.remove(&event.cpu);
        let slot = last.filter(|(skb, slot, number)| {
            let waiting = &self.flight.slots[*slot as usize];
            *skb == event.skb && waiting.number == *number
        });
        match slot {
            Some((_, slot, _)) => self.drop_upcall(slot, Reason::Failed),
            None => self.alone(Kind::DpFailed, Reason::NoSuchUpcall),
        }
    }

    /// Takes the D of an R out of flight.
    fn take(&mut self, event: &Event<'_>) -> Option<Upcall> {
        let mut wanted = Wanted {
            datapath: event.datapath,
            upcall_type: event.upcall_type,
            port: event.port,
            size: event.packet.len,
            bytes: event.packet.bytes,
        };
        let mut hit = self.flight.find(&wanted, event.tid);
        let tagged = matches!(wanted.bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        if hit.is_none() && event.unfinished && tagged && wanted.bytes.len() >= 16 {
            self.untagged.clear();
            self.untagged.extend_from_slice(&wanted.bytes[..12]);
            self.untagged.extend_from_slice(&wanted.bytes[16..]);
            wanted.bytes = &self.untagged;
            wanted.size = wanted.size.saturating_sub(4);
            hit = self.flight.find(&wanted, event.tid);
        }
        let upcall = |waiting: &Waiting| Upcall {
            time: waiting.time,
            device: waiting.device,
        };
        let Some((slot, certain)) = hit else {
            if !event.unfinished {
                return None;
            }
            let (slot, received, last) = self.flight.find_segmented(&wanted)?;
            let waiting = &mut self.flight.slots[slot as usize];
            waiting.received = received;
            let upcall = upcall(waiting);
            if last {
                self.flight.remove(slot);
            }
            return Some(upcall);
        };
        let waiting = &self.flight.slots[slot as usize];
        let (portid, time) = (waiting.portid, waiting.time);
        let upcall = upcall(waiting);
        if portid != 0 {
            let owners = &mut self.flight.owners;
            if certain && (owners.len() < MAX_SOCKETS || owners.contains_key(&portid)) {
                owners.insert(portid, event.tid);
            }
            while let Some(socket) = self.flight.sockets.get(&portid) {
                let first = socket.first;
                let older = &self.flight.slots[first as usize];
                if first == slot || older.time.saturating_add(OVERTAKEN) >= time {
                    break;
                }
                self.drop_upcall(first, Reason::Overtaken);
            }
        }
        self.flight.remove(slot);
        Some(upcall)
    }

    fn receive(&mut self, event: &Event<'_>, found: &mut impl FnMut(Found<'_>)) {
        let upcall = self.take(event);
        let many = self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&event.tid);
        if many || self.held > MAX_HELD {
            self.close_all(found);
        }
        let unmatched = &mut self.unmatched;
        let thread = self.threads.entry(event.tid).or_insert_with(|| Thread {
            tid: event.tid,
            comm: Name::new(event.comm),
            entries: Vec::new(),
            used: 0,
            batch: 0,
            operated: None,
            at: 0,
            has_put: false,
            has_execute: false,
            executing: VecDeque::new(),
        });
        if thread.operated.is_some() || thread.used >= MAX_BATCH {
            close(thread, unmatched, found);
        }
        thread.comm = Name::new(event.comm);
        let mut entry = Entry {
            datapath: Name::new(event.datapath),
            upcall_type: event.upcall_type,
            port: event.port,
            cpu: event.cpu,
            upcall,
            receive: event.time,
            put: None,
            put_is_sure: false,
            execute: None,
            kernel: None,
            ufid: None,
            packet_len: event.packet.len,
            packet: Vec::new(),
            key_len: event.key.len,
            key: Vec::new(),
        };
        match thread.entries.get_mut(thread.used) {
            Some(place) => {
                entry.packet = std::mem::take(&mut place.packet);
                entry.key = std::mem::take(&mut place.key);
                self.held += fill(&mut entry, event);
                *place = entry;
            }
            None => {
                let before = thread.entries.capacity();
                self.held += fill(&mut entry, event);
                thread.entries.push(entry);
                self.held += (thread.entries.capacity() - before) * size_of::<Entry>();
            }
        }
        if upcall.is_none() {
            if self.early.len() == MAX_EARLY {
                self.early.pop_front();
            }
            self.early.push_back(Early {
                tid: event.tid,
                batch: thread.batch,
                entry: thread.used,
                time: event.time,
            });
        }
        thread.used += 1;
    }

    /// The thread of an operation, if it has received something.
    fn operating(&mut self, event: &Event<'_>) -> Option<&mut Thread> {
        let thread = self.threads.get_mut(&event.tid)?;
        if thread.used == 0 {
            return None;
        }
        thread.operated.get_or_insert(event.time);
        Some(thread)
    }

    fn put(&mut self, event: &Event<'_>) {
        let key = event.flow_key();
        let Some(thread) = self.operating(event) else {
            return self.alone(event.kind, Reason::NoBatch);
        };
        match key {
            // Neither the daemon's own flows nor changes of old ones are an upcall's.
            Some(key) => {
                let place = thread.entry(|entry| entry.put.is_none() && entry.has_key(&key));
                let Some(place) = place else {
                    return self.alone(event.kind, Reason::OtherFlow);
                };
                if place != thread.at {
                    thread.has_execute = false;
                }
                thread.at = thread.at.max(place);
                thread.entries[place].put = Some(event.time);
                thread.entries[place].put_is_sure = true;
                thread.entries[place].ufid = ufid(event);
            }
            None => {
                if thread.has_put && !thread.next() {
                    return self.alone(event.kind, Reason::NoPlace);
                }
                let at = thread.at;
                thread.entries[at].put = Some(event.time);
            }
        }
        thread.has_put = true;
    }

    fn execute(&mut self, event: &Event<'_>) {
        let Some(thread) = self.operating(event) else {
            return self.alone(event.kind, Reason::NoBatch);
        };
        if thread.has_execute {
            thread.next();
        }
        let place =
            thread.entry(|entry| entry.execute.is_none() && entry.has_packet(&event.packet));
        let many = thread.executing.len() == MAX_OPERATED;
        if many {
            thread.executing.pop_front();
        }
        thread.executing.push_back((place, event.packet.len));
        if let Some(place) = place {
            if place > thread.at {
                // A put that was given to the next in order belongs to this one.
                let at = thread.at;
                if !thread.entries[at].put_is_sure && thread.entries[at].execute.is_none() {
                    let put = thread.entries[at].put.take();
                    thread.entries[place].put = thread.entries[place].put.or(put);
                }
                thread.at = place;
            }
            thread.entries[place].execute = Some(event.time);
            thread.has_put = true;
            thread.has_execute = true;
        } else {
            self.alone(event.kind, Reason::OtherPacket);
        }
        if many {
            self.alone(event.kind, Reason::NotExecuted);
        }
    }

    fn kernel(&mut self, event: &Event<'_>) {
        let size = event.packet.len;
        let executing = self
            .threads
            .get_mut(&event.tid)
            .filter(|thread| !thread.executing.is_empty());
        let Some(thread) = executing else {
            return self.alone(event.kind, Reason::NoExecute);
        };
        let place = thread
            .executing
            .iter()
            .position(|(_, executed)| size == 0 || *executed == size);
        let Some(place) = place else {
            return self.alone(event.kind, Reason::OtherSize);
        };
        let mut skipped = 0;
        for (entry, _) in thread.executing.drain(..=place) {
            skipped += 1;
            if skipped > place
                && let Some(entry) = entry
            {
                thread.entries[entry].kernel = Some(event.time);
            }
        }
        for _ in 0..place {
            self.alone(Kind::OpFlowExecute, Reason::NotExecuted);
        }
    }

    fn close_all(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let mut threads: Vec<Thread> = self.threads.drain().map(|(_, thread)| thread).collect();
        threads.sort_unstable_by_key(|thread| thread.tid);
        for thread in &mut threads {
            close(thread, &mut self.unmatched, found);
        }
        self.early.clear();
        self.held = 0;
    }
}

/// Copies packet and key, and returns how many bytes were allocated for them.
fn fill(entry: &mut Entry, event: &Event<'_>) -> usize {
    let mut grown = 0;
    for (to, from) in [
        (&mut entry.packet, &event.packet),
        (&mut entry.key, &event.key),
    ] {
        let before = to.capacity();
        to.clear();
        to.extend_from_slice(from.bytes);
        grown += to.capacity() - before;
    }
    grown
}

fn ufid(event: &Event<'_>) -> Option<[u8; 16]> {
    flow_key::attributes(event.key.bytes)
        .find(|attribute| attribute.kind == crate::ovs::flow_request::OVS_FLOW_ATTR_UFID)
        .and_then(|attribute| attribute.payload.try_into().ok())
}

/// Ends the batch of a thread.
fn close(
    thread: &mut Thread,
    unmatched: &mut BTreeMap<(Kind, Reason), u64>,
    found: &mut impl FnMut(Found<'_>),
) {
    let size = thread.used;
    if size == 0 {
        return;
    }
    let mut alone = |kind, reason, count: u64| {
        if count > 0 {
            *unmatched.entry((kind, reason)).or_default() += count;
        }
    };
    let (tid, comm) = (thread.tid, thread.comm.bytes());
    // The operations of a batch come after the last upcall of it: from the first that has one on, all are of one batch.
    // What comes before, with no operation at all, may have been batches of their own, with a wait behind each.
    let operated = |entry: &Entry| entry.put.is_some() || entry.execute.is_some();
    let sure_from = thread.entries[..size].iter().position(operated);
    for (i, entry) in thread.entries[..size].iter().enumerate() {
        if entry.upcall.is_none() {
            alone(Kind::RecvUpcall, Reason::NoUpcall, 1);
        }
        let next = thread.entries[..size].get(i + 1);
        let is_sure = sure_from.is_some_and(|from| i >= from);
        // What was waiting already was not waited for.
        let was_there = |next: &Entry| {
            let upcall = next.upcall.as_ref();
            upcall.is_some_and(|upcall| upcall.time <= entry.receive)
        };
        let looked_up = match next {
            Some(next) if is_sure || was_there(next) => Some(next.receive),
            Some(_) => None,
            None => thread.operated,
        };
        found(Found::Set(&Set {
            datapath: entry.datapath.bytes(),
            device: entry
                .upcall
                .as_ref()
                .map_or(b"", |upcall| upcall.device.bytes()),
            port: entry.port,
            upcall_type: entry.upcall_type,
            comm,
            tid,
            cpu: entry.cpu,
            upcall: entry.upcall.map(|upcall| upcall.time),
            receive: entry.receive,
            looked_up,
            put: entry.put,
            execute: entry.execute,
            kernel: entry.kernel,
            batch: size,
            packet: Captured {
                len: entry.packet_len,
                bytes: &entry.packet,
                error: None,
            },
            key: Captured {
                len: entry.key_len,
                bytes: &entry.key,
                error: None,
            },
            ufid: entry.ufid,
        }));
    }
    let executing = thread.executing.drain(..).count();
    alone(Kind::OpFlowExecute, Reason::NotExecuted, executing as u64);
    found(Found::Batch { comm, tid, size });
    thread.used = 0;
    thread.batch += 1;
    thread.operated = None;
    thread.at = 0;
    thread.has_put = false;
    thread.has_execute = false;
}
