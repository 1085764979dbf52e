//! A receive, and what followed it.

use super::flight::Upcall;
use super::found::Request;
use super::same::{Name, same_bytes};
use crate::cost::event::Event;
use crate::ovs::flow_key;
use crate::trace::captured::Captured;

/// A receive, and what followed it.
pub struct Entry {
    pub datapath: Name<32>,
    pub upcall_type: u32,
    pub port: Option<u32>,
    pub cpu: u32,
    pub upcall: Option<Upcall>,
    pub receive: u64,
    pub put: Option<u64>,
    /// The put has the flow key of this upcall.
    pub put_is_sure: bool,
    pub execute: Option<u64>,
    pub kernel: Option<u64>,
    pub put_request: Option<Request>,
    pub execute_request: Option<Request>,
    pub ufid: Option<[u8; 16]>,
    pub packet_len: u32,
    pub packet: Vec<u8>,
    pub key_len: u32,
    pub key: Vec<u8>,
}

impl Entry {
    pub fn has_packet(&self, packet: &Captured<'_>) -> bool {
        self.packet_len == packet.len && same_bytes(&self.packet, packet.bytes, &(0..0))
    }

    /// Whether an attribute that may be cut is this key, which may be cut as well.
    pub fn has_key(&self, key: &flow_key::Attribute<'_>) -> bool {
        self.key_len as usize == key.payload_len() && same_bytes(&self.key, key.payload, &(0..0))
    }

    /// Copies the packet and the key of an event into it, and returns how many bytes were allocated for them.
    pub fn fill(&mut self, event: &Event<'_>) -> usize {
        replace(&mut self.packet, event.packet.bytes) + replace(&mut self.key, event.key.bytes)
    }

    /// Takes the bytes of its packet from the request to execute that, if they are more: the message may have had the end
    /// of the packet in pages, which the request has not. Returns how many bytes were allocated.
    pub fn complete(&mut self, packet: &[u8]) -> usize {
        if packet.len() <= self.packet.len() {
            return 0;
        }
        replace(&mut self.packet, packet)
    }
}

/// Returns how many bytes were allocated.
fn replace(to: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let before = to.capacity();
    to.clear();
    to.extend_from_slice(bytes);
    to.capacity() - before
}
