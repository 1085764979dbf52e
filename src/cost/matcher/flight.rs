//! The kernel upcalls in flight: those that were sent and not yet received. A receive finds its kernel upcall here;
//! kernel upcalls that are too old or too many are given up.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::class::{Classes, MAX_PREFIX};
use super::found::{Reason, Unmatched};
use super::same::{Name, Wanted, same_port};
use super::waiting::{AGE, CHAIN, Link, List, NONE, SOCKET, Waiting, push, unlink};
use crate::cost::event::{Event, Kind, short_datapath};
use crate::cost::transport::{Transport, supposed_link};
use crate::ovs::packet::Link as LinkType;

/// Nanoseconds after which a kernel upcall is no longer expected to be received. A daemon that hangs or is stopped for
/// a while mostly recovers within this time, and the upcalls that it receives then are the most interesting ones.
pub const MAX_AGE: u64 = 60_000_000_000;
/// How many upcalls may be in flight. A socket holds some thousands.
pub const MAX_WAITING: usize = 1 << 17;
/// How many bytes the packets in flight may have together.
pub const MAX_BYTES: usize = 64 << 20;
/// A socket is first in, first out. An upcall that is this many nanoseconds older than one that was received from the
/// same socket will not be received any more; CPUs that write to one socket may overtake each other by less.
const OVERTAKEN: u64 = 100_000_000;
/// How many unsegmented packets are remembered.
const MAX_BIG: usize = 64;
/// A packet of more bytes than this may be unsegmented.
const BIG: u32 = 600;
/// How many upcalls with the same hash are compared.
const MAX_STEPS: usize = 256;
/// How many sockets have an entry in [`Flight::owners`].
const MAX_SOCKETS: usize = 1 << 16;
/// How many CPUs have an entry in [`Flight::last`].
const MAX_CPUS: usize = 1 << 14;

/// What its receive needs to know of a kernel upcall.
#[derive(Clone, Copy)]
pub struct Upcall {
    pub time: u64,
    /// When the socket got its message.
    pub queued: Option<u64>,
    pub device: Name<16>,
}

/// All kernel upcalls in flight.
#[derive(Default)]
pub struct Flight {
    slots: Vec<Waiting>,
    /// The slots that are not used.
    free: Vec<u32>,
    /// How many upcalls are in flight.
    len: usize,
    /// How many bytes of packets are in flight.
    bytes: usize,
    /// All upcalls, the oldest first.
    age: List,
    /// Upcalls by hash.
    chains: HashMap<u64, List, RandomState>,
    /// Upcalls by the socket that they were sent to.
    sockets: HashMap<u32, List, RandomState>,
    classes: Classes,
    /// The number of the next upcall.
    next: u64,
    /// The thread that is known to read a socket.
    owners: HashMap<u32, u32, RandomState>,
    /// The slots and numbers of packets that may have been segmented after the tracepoint saw them.
    big: VecDeque<(u32, u64)>,
    /// The last kernel upcall of each CPU: the address of its packet, its slot and its number.
    last: HashMap<u32, (u64, u32, u64), RandomState>,
    /// The slots of the upcalls in flight whose messages have a known address, by that.
    messages: HashMap<u64, u32, RandomState>,
    /// A buffer for a packet without its VLAN tag.
    untagged: Vec<u8>,
}

impl Flight {
    /// Adds a kernel upcall.
    pub fn insert(&mut self, event: &Event<'_>) {
        let bytes = event.packet.bytes;
        // The tracepoint does not say what a packet begins with; the key of its receive does.
        let link = supposed_link(bytes, event.packet.len);
        let transport = event.unfinished.then(|| Transport::find(bytes, link));
        let transport = transport.flatten();
        let checksum = match (&event.checksum, transport) {
            (Some(at), _) => at.clone(),
            (None, Some(transport)) => transport.checksum(),
            (None, None) => 0..0,
        };
        let (class, hash) = self.classes.add(event.packet.len, bytes, &checksum);
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
            message: 0,
            queued: 0,
            size: event.packet.len,
            link: transport.map_or(LinkType::Unknown, |_| link),
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
        if event.skb != 0 && (self.last.len() < MAX_CPUS || self.last.contains_key(&event.cpu)) {
            self.last.insert(event.cpu, (event.skb, slot, self.next));
        }
        self.next += 1;
        self.len += 1;
        self.bytes += bytes.len();
    }

    fn remove(&mut self, slot: u32) {
        let place = &self.slots[slot as usize];
        let (hash, portid, class) = (place.hash, place.portid, place.class as usize);
        if place.message != 0 {
            self.messages.remove(&place.message);
        }
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
        self.classes.remove(class);
        let place = &mut self.slots[slot as usize];
        // Whoever remembers its number must not take what is put here next for it.
        place.number = u64::MAX;
        self.len -= 1;
        self.bytes -= place.bytes.len();
        place.bytes.clear();
        // Every slot may keep a buffer, but only a small one.
        if place.bytes.capacity() > MAX_PREFIX {
            place.bytes = Vec::new();
        }
        self.free.push(slot);
    }

    /// The slot of the kernel upcall that thread `tid` received, and whether no other is equal to it.
    fn find(&self, wanted: &Wanted<'_>, tid: u32) -> Option<(u32, bool)> {
        // Whether the socket is another thread's, the number, the slot: the least is the best.
        let mut best = None;
        let mut equal = 0;
        for hash in self.classes.hashes(wanted.size, wanted.bytes) {
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
                    // The rest of the chain is younger.
                    if !foreign && equal > 1 {
                        break;
                    }
                }
                slot = waiting.links[CHAIN].next;
            }
        }
        best.map(|(_, _, slot)| (slot, equal == 1))
    }

    /// The slot of the unsegmented packet that `wanted` is the next segment of, how much of its payload was received
    /// with this segment, and whether that is all.
    fn find_segmented(&self, wanted: &Wanted<'_>) -> Option<(u32, u32, bool)> {
        let link = match wanted.link {
            LinkType::Unknown => supposed_link(wanted.bytes, wanted.size),
            link => link,
        };
        let of_segment = Transport::find(wanted.bytes, link)?;
        self.big.iter().find_map(|(slot, number)| {
            let waiting = self
                .slots
                .get(*slot as usize)
                .filter(|waiting| waiting.number == *number)?;
            let transport = Transport::find(&waiting.bytes, waiting.link)?;
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

    /// Takes an upcall that will not be received out of flight.
    fn give_up(&mut self, slot: u32, reason: Reason, unmatched: &mut Unmatched) {
        // An upcall of which a segment was received belongs to a set already.
        if self.slots[slot as usize].received == 0 {
            unmatched.add(Kind::DpUpcall, reason, 1);
        }
        self.remove(slot);
    }

    /// Gives up the oldest upcalls while they are too old, too many or too large.
    pub fn evict(&mut self, now: u64, unmatched: &mut Unmatched) {
        loop {
            let Some(oldest) = self.slots.get(self.age.first as usize) else {
                return;
            };
            let reason = if now.saturating_sub(oldest.time) > MAX_AGE {
                Reason::TimedOut
            } else if self.len >= MAX_WAITING || self.bytes >= MAX_BYTES {
                Reason::PushedOut
            } else {
                return;
            };
            self.give_up(self.age.first, reason, unmatched);
        }
    }

    /// Gives up all upcalls, at the end of the events.
    pub fn finish(&mut self, unmatched: &mut Unmatched) {
        while self.age.first != NONE {
            self.give_up(self.age.first, Reason::InFlight, unmatched);
        }
    }

    /// The last kernel upcall of a CPU, if it is in flight and of this packet.
    fn last_of(&self, cpu: u32, skb: u64) -> Option<u32> {
        let (last, slot, number) = *self.last.get(&cpu)?;
        (last == skb && self.slots[slot as usize].number == number).then_some(slot)
    }

    /// Takes the kernel upcall that failed out of flight: the last of the CPU, if it has the same packet.
    pub fn fail(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) {
        if event.skb == 0 {
            // The upcall failed before it could be queued, so that no kernel upcall was seen.
            return;
        }
        let slot = self.last_of(event.cpu, event.skb);
        self.last.remove(&event.cpu);
        match slot {
            Some(slot) => self.give_up(slot, Reason::Failed, unmatched),
            None => unmatched.add(Kind::DpFailed, Reason::NoSuchUpcall, 1),
        }
    }

    /// Takes note of the message of a kernel upcall: of the last one of the CPU, if it has the same packet.
    pub fn queue(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) {
        // The kernel uses an address again only after the message there was received.
        if let Some(slot) = self.messages.get(&event.message) {
            self.give_up(*slot, Reason::Reused, unmatched);
        }
        match self.last_of(event.cpu, event.skb) {
            Some(slot) if self.slots[slot as usize].message == 0 => {
                let waiting = &mut self.slots[slot as usize];
                waiting.message = event.message;
                waiting.queued = event.time;
                self.messages.insert(event.message, slot);
            }
            _ => unmatched.add(Kind::DpQueued, Reason::NoSuchUpcall, 1),
        }
    }

    /// The slot of the kernel upcall whose message was received.
    fn find_message(&self, event: &Event<'_>) -> Option<u32> {
        let slot = *self.messages.get(&event.message)?;
        let waiting = &self.slots[slot as usize];
        let same = waiting.upcall_type == event.upcall_type && same_port(waiting.port, event.port);
        same.then_some(slot)
    }

    /// Takes the kernel upcall of a receive out of flight.
    pub fn take(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) -> Option<Upcall> {
        let mut wanted = Wanted {
            datapath: event.datapath,
            upcall_type: event.upcall_type,
            port: event.port,
            size: event.packet.len,
            link: event.link(),
            bytes: event.packet.bytes,
            of_message: event.message != 0,
        };
        let by_message = self.find_message(event).map(|slot| (slot, true));
        let mut hit = by_message.or_else(|| self.find(&wanted, event.tid));
        let tagged = !matches!(wanted.link, LinkType::Network(_))
            && matches!(wanted.bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        if hit.is_none() && event.unfinished && tagged && wanted.bytes.len() >= 16 {
            self.untagged.clear();
            self.untagged.extend_from_slice(&wanted.bytes[..12]);
            self.untagged.extend_from_slice(&wanted.bytes[16..]);
            wanted.bytes = &self.untagged;
            wanted.size = wanted.size.saturating_sub(4);
            hit = self.find(&wanted, event.tid);
        }
        let upcall = |waiting: &Waiting| Upcall {
            time: waiting.time,
            queued: (waiting.queued != 0).then_some(waiting.queued),
            device: waiting.device,
        };
        let Some((slot, certain)) = hit else {
            if !event.unfinished {
                return None;
            }
            let (slot, received, last) = self.find_segmented(&wanted)?;
            let waiting = &mut self.slots[slot as usize];
            waiting.received = received;
            let upcall = upcall(waiting);
            if last {
                self.remove(slot);
            }
            return Some(upcall);
        };
        let waiting = &self.slots[slot as usize];
        let (portid, time) = (waiting.portid, waiting.time);
        let upcall = upcall(waiting);
        if portid != 0 {
            let owners = &mut self.owners;
            if certain && (owners.len() < MAX_SOCKETS || owners.contains_key(&portid)) {
                owners.insert(portid, event.tid);
            }
            while let Some(socket) = self.sockets.get(&portid) {
                let first = socket.first;
                let older = &self.slots[first as usize];
                if first == slot || older.time.saturating_add(OVERTAKEN) >= time {
                    break;
                }
                self.give_up(first, Reason::Overtaken, unmatched);
            }
        }
        self.remove(slot);
        Some(upcall)
    }
}
