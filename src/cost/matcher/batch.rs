//! The batches of a thread: what it received in a row, and the operations that followed. A batch ends with the first
//! receive after an operation.

use std::collections::VecDeque;

use super::entry::Entry;
use super::flight::Upcall;
use super::found::{Found, Reason, Request, Set, Unmatched};
use super::same::{Name, same_bytes, same_port};
use crate::cost::event::{Event, Kind, short_datapath};
use crate::ovs::{flow_key, flow_request};
use crate::trace::captured::Captured;

/// How many upcalls a batch may have. One of Open vSwitch has 64 at most (`UPCALL_MAX_BATCH`), but upcalls that led to
/// no operation are added to the next batch.
const MAX_BATCH: usize = 4096;
/// How many of the last upcalls of a batch operations are matched with, and how many executes wait for the kernel.
const MAX_OPERATED: usize = 256;

/// A thread that receives upcalls.
pub struct Thread {
    tid: u32,
    comm: Name<16>,
    /// The first `used` are those of the batch; the others are kept for their buffers.
    entries: Vec<Entry>,
    used: usize,
    /// Number of the batch.
    batch: u64,
    /// When the first operation of the batch came.
    operated: Option<u64>,
    /// The entry that the next operations are for.
    at: usize,
    /// A put without a key is not for this entry any more, but for the next.
    has_put: bool,
    /// An execute is not for this entry any more, but for the next.
    has_execute: bool,
    /// Executes that the kernel has not begun: their entries, if they have one, and their sizes.
    executing: VecDeque<(Option<usize>, u32)>,
    /// A kernel execution whose execute comes when the kernel is done with it: when the request began, and when the
    /// execution did.
    within: Option<(u64, u64)>,
    /// How many bytes were allocated by operations since the last receive.
    grown: usize,
}

impl Thread {
    /// A thread that has received nothing yet.
    pub fn new(tid: u32, comm: &[u8]) -> Self {
        Self {
            tid,
            comm: Name::new(comm),
            entries: Vec::new(),
            used: 0,
            batch: 0,
            operated: None,
            at: 0,
            has_put: false,
            has_execute: false,
            executing: VecDeque::new(),
            within: None,
            grown: 0,
        }
    }

    /// Whether the batch takes no more upcalls: the next receive begins another.
    pub fn is_complete(&self) -> bool {
        self.operated.is_some() || self.used >= MAX_BATCH
    }

    /// Adds a receive, and returns how many bytes were allocated for it, and by operations before it.
    pub fn receive(&mut self, event: &Event<'_>, upcall: Option<Upcall>) -> usize {
        self.comm = Name::new(event.comm);
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
            put_request: None,
            execute_request: None,
            ufid: None,
            packet_len: event.packet.len,
            packet: Vec::new(),
            key_len: event.key.len,
            key: Vec::new(),
        };
        let grown = match self.entries.get_mut(self.used) {
            Some(place) => {
                entry.packet = std::mem::take(&mut place.packet);
                entry.key = std::mem::take(&mut place.key);
                let grown = entry.fill(event);
                *place = entry;
                grown
            }
            None => {
                let before = self.entries.capacity();
                let grown = entry.fill(event);
                self.entries.push(entry);
                grown + (self.entries.capacity() - before) * size_of::<Entry>()
            }
        };
        self.used += 1;
        grown + std::mem::take(&mut self.grown)
    }

    /// Whether an entry may be the receive of this kernel upcall.
    pub fn has(&self, batch: u64, entry: usize, event: &Event<'_>) -> bool {
        let checksum = event.checksum.clone().unwrap_or(0..0);
        self.batch == batch
            && self.entries.get(entry).is_some_and(|entry| {
                entry.packet_len == event.packet.len
                    && entry.upcall_type == event.upcall_type
                    && same_port(entry.port, event.port)
                    && short_datapath(entry.datapath.bytes()) == short_datapath(event.datapath)
                    && same_bytes(&entry.packet, event.packet.bytes, &checksum)
            })
    }

    /// Gives an entry its kernel upcall.
    pub fn set_upcall(&mut self, entry: usize, event: &Event<'_>) {
        self.entries[entry].upcall = Some(Upcall {
            time: event.time,
            queued: None,
            device: Name::new(event.device),
        });
    }

    /// The number of the batch, and how many upcalls it has.
    pub fn place(&self) -> (u64, usize) {
        (self.batch, self.used)
    }

    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// Takes a put, an execute or a kernel execution.
    pub fn operate(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) {
        let result = match event.kind {
            Kind::OvsPktExec => self.kernel(event, unmatched),
            _ if self.used == 0 => Err(Reason::NoBatch),
            kind => {
                self.operated.get_or_insert(event.time);
                match kind {
                    Kind::OpFlowPut => self.put(event),
                    _ => self.execute(event, unmatched),
                }
            }
        };
        if let Err(reason) = result {
            unmatched.add(event.kind, reason, 1);
        }
    }

    /// Goes on to the next entry, and returns whether there is one.
    fn next(&mut self) -> bool {
        if self.at + 1 >= self.used {
            return false;
        }
        self.at += 1;
        self.has_put = false;
        self.has_execute = false;
        true
    }

    /// The first entry from `at` on that fits or, if none of them fits, the first one before it.
    fn entry(&self, mut will_do: impl FnMut(&Entry) -> bool) -> Option<usize> {
        let first = self.used.saturating_sub(MAX_OPERATED);
        let at = self.at.clamp(first, self.used);
        (at..self.used)
            .chain(first..at)
            .find(|i| will_do(&self.entries[*i]))
    }

    fn put(&mut self, event: &Event<'_>) -> Result<(), Reason> {
        match event.flow_key() {
            // The daemon also puts flows of its own and changes old ones; these belong to no upcall.
            Some(key) => {
                let place = self.entry(|entry| entry.put.is_none() && entry.has_key(&key));
                let Some(place) = place else {
                    return Err(Reason::OtherFlow);
                };
                if place != self.at {
                    self.has_execute = false;
                }
                self.at = self.at.max(place);
                self.entries[place].put = Some(event.time);
                self.entries[place].put_is_sure = true;
                self.entries[place].put_request = Request::of(event);
                self.entries[place].ufid = ufid(event);
            }
            None => {
                if self.has_put && !self.next() {
                    return Err(Reason::NoPlace);
                }
                let at = self.at;
                self.entries[at].put = Some(event.time);
            }
        }
        self.has_put = true;
        Ok(())
    }

    fn execute(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) -> Result<(), Reason> {
        if self.has_execute {
            self.next();
        }
        let place = self.entry(|entry| entry.execute.is_none() && entry.has_packet(&event.packet));
        let mut kernel = None;
        if let Some(request) = event.begun {
            kernel = self.within.take_if(|(within, _)| *within == request);
            let missing = u64::from(kernel.is_none());
            unmatched.add(event.kind, Reason::NotExecuted, missing);
        } else {
            if self.executing.len() == MAX_OPERATED {
                self.executing.pop_front();
                unmatched.add(event.kind, Reason::NotExecuted, 1);
            }
            self.executing.push_back((place, event.packet.len));
        }
        let place = place.ok_or(Reason::OtherPacket)?;
        if place > self.at {
            // A put without a key was given to the next upcall in order, but the daemon was at this one.
            let at = self.at;
            if !self.entries[at].put_is_sure && self.entries[at].execute.is_none() {
                let put = self.entries[at].put.take();
                self.entries[place].put = self.entries[place].put.or(put);
            }
            self.at = place;
        }
        let entry = &mut self.entries[place];
        entry.execute = Some(event.time);
        entry.execute_request = Request::of(event);
        entry.kernel = kernel.map(|(_, time)| time);
        if event.begun.is_some() {
            self.grown += entry.complete(event.packet.bytes);
        }
        self.has_put = true;
        self.has_execute = true;
        Ok(())
    }

    fn kernel(&mut self, event: &Event<'_>, unmatched: &mut Unmatched) -> Result<(), Reason> {
        if let Some(request) = event.begun {
            let before = self.within.replace((request, event.time));
            return before.map_or(Ok(()), |_| Err(Reason::NoExecute));
        }
        if self.executing.is_empty() {
            return Err(Reason::NoExecute);
        }
        let size = event.packet.len;
        let place = self
            .executing
            .iter()
            .position(|(_, executed)| size == 0 || *executed == size)
            .ok_or(Reason::OtherSize)?;
        let mut skipped = 0;
        for (entry, _) in self.executing.drain(..=place) {
            skipped += 1;
            if skipped > place
                && let Some(entry) = entry
            {
                self.entries[entry].kernel = Some(event.time);
            }
        }
        unmatched.add(Kind::OpFlowExecute, Reason::NotExecuted, place as u64);
        Ok(())
    }

    /// Ends the batch.
    pub fn close(&mut self, unmatched: &mut Unmatched, found: &mut impl FnMut(Found<'_>)) {
        let size = self.used;
        if size == 0 {
            return;
        }
        let (tid, comm) = (self.tid, self.comm.bytes());
        // The operations of a batch come after its last upcall, so that all entries from the first with an operation on
        // are of one batch. The entries before it may have been batches of their own, and the daemon may have waited
        // after each.
        let operated = |entry: &Entry| entry.put.is_some() || entry.execute.is_some();
        let sure_from = self.entries[..size].iter().position(operated);
        for (i, entry) in self.entries[..size].iter().enumerate() {
            if entry.upcall.is_none() {
                unmatched.add(Kind::RecvUpcall, Reason::NoUpcall, 1);
            }
            let next = self.entries[..size].get(i + 1);
            let is_sure = sure_from.is_some_and(|from| i >= from);
            // The daemon did not wait for an upcall that was there already.
            let was_there = |next: &Entry| {
                let upcall = next.upcall.as_ref();
                upcall.is_some_and(|upcall| upcall.time <= entry.receive)
            };
            let looked_up = match next {
                Some(next) if is_sure || was_there(next) => Some(next.receive),
                Some(_) => None,
                None => self.operated,
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
                queued: entry.upcall.and_then(|upcall| upcall.queued),
                receive: entry.receive,
                looked_up,
                put: entry.put,
                execute: entry.execute,
                kernel: entry.kernel,
                put_request: entry.put_request,
                execute_request: entry.execute_request,
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
        let executing = self.executing.drain(..).count();
        unmatched.add(Kind::OpFlowExecute, Reason::NotExecuted, executing as u64);
        let within = u64::from(self.within.take().is_some());
        unmatched.add(Kind::OvsPktExec, Reason::NoExecute, within);
        found(Found::Batch { comm, tid, size });
        self.used = 0;
        self.batch += 1;
        self.operated = None;
        self.at = 0;
        self.has_put = false;
        self.has_execute = false;
    }
}

/// The unique id of the flow that a put installs.
fn ufid(event: &Event<'_>) -> Option<[u8; 16]> {
    flow_key::attributes(event.key.bytes)
        .find(|attribute| attribute.kind == flow_request::OVS_FLOW_ATTR_UFID)
        .and_then(|attribute| attribute.payload.try_into().ok())
}
