//! An upcall in flight, and the lists that it is on. The lists link slots by their numbers, so that they need no memory
//! of their own.

use std::ops::Range;

use super::same::{Name, Wanted, same_bytes, same_link, same_port};
use crate::cost::event::short_datapath;
use crate::ovs::packet::Link as LinkType;

/// No slot: the end of a list.
pub const NONE: u32 = u32::MAX;

/// The neighbours of an upcall in a list.
#[derive(Clone, Copy)]
pub struct Link {
    pub previous: u32,
    pub next: u32,
}

/// A list through [`Waiting::links`].
#[derive(Clone, Copy)]
pub struct List {
    pub first: u32,
    pub last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
        }
    }
}

/// The lists of an upcall, as places in [`Waiting::links`]: all by age, those of one hash, those of one socket.
pub const AGE: usize = 0;
pub const CHAIN: usize = 1;
pub const SOCKET: usize = 2;

/// A kernel upcall in flight.
pub struct Waiting {
    pub links: [Link; 3],
    /// No other upcall has it, unlike the slot.
    pub number: u64,
    pub hash: u64,
    pub class: u32,
    pub time: u64,
    pub datapath: Name<32>,
    pub device: Name<16>,
    pub upcall_type: u32,
    pub port: Option<u32>,
    pub portid: u32,
    /// The address of its message, and when the socket got that; 0 if they are not known.
    pub message: u64,
    pub queued: u64,
    pub size: u32,
    /// What its packet begins with, if the place of the checksum follows from that.
    pub link: LinkType,
    /// The place of a checksum that the kernel had not completed; empty if there is no such checksum.
    pub checksum: Range<usize>,
    /// How many bytes of payload were received of an unsegmented packet.
    pub received: u32,
    pub bytes: Vec<u8>,
}

impl Waiting {
    /// Whether this is the wanted upcall, as far as both are known.
    pub fn is(&self, wanted: &Wanted<'_>) -> bool {
        // Another one came in the message whose address this has. The name of its datapath may not be known.
        let of_message = wanted.of_message;
        self.size == wanted.size
            && self.upcall_type == wanted.upcall_type
            && same_port(self.port, wanted.port)
            && same_link(self.link, wanted.link)
            && !(of_message && self.message != 0)
            && (self.datapath.bytes() == short_datapath(wanted.datapath)
                || (of_message && wanted.datapath.is_empty()))
            && same_bytes(&self.bytes, wanted.bytes, &self.checksum)
    }
}

/// Appends a slot to a list.
pub fn push(slots: &mut [Waiting], list: &mut List, which: usize, slot: u32) {
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

/// Takes a slot out of a list.
pub fn unlink(slots: &mut [Waiting], list: &mut List, which: usize, slot: u32) {
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
