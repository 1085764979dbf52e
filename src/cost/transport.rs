//! Finds the transport header of a packet. It identifies the receives of an upcall that the tracepoint showed before
//! the kernel segmented the packet or completed its checksum.

use std::ops::Range;

use crate::ovs::packet::Link;
use crate::ovs::packet::names::{ETH_P_IP, ETH_P_IPV6};

const ETH_ADDRESSES: usize = 12;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP or UDP packet, not a later fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// How many bytes the Ethernet addresses have at the beginning, if there are any.
    ethernet: usize,
    network: usize,
    /// Where the two addresses begin, and how many bytes they have together.
    addresses: (usize, usize),
    protocol: u8,
    header: usize,
    /// Where the payload begins.
    payload: usize,
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What a packet of `size` bytes begins with if nothing says it: with IPv4 or IPv6 if the header of that has this length,
/// else with an Ethernet header. It is right as a rule only: what follows from it must be confirmed.
pub fn supposed_link(packet: &[u8], size: u32) -> Link {
    let is = |at, header| u16_at(packet, at).map(|len| u32::from(len) + header) == Some(size);
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if is(2, 0) => Link::Network(ETH_P_IP),
        Some(6) if is(4, 40) => Link::Network(ETH_P_IPV6),
        _ => Link::Ethernet,
    }
}

impl Transport {
    /// Finds the header, if all of it was captured and it is known what the packet begins with.
    pub fn find(packet: &[u8], link: Link) -> Option<Self> {
        let (ethernet, mut network, mut ether_type) = match link {
            Link::Ethernet => (
                ETH_ADDRESSES,
                ETH_ADDRESSES + 2,
                u16_at(packet, ETH_ADDRESSES)?,
            ),
            Link::Network(ether_type) => (0, 0, ether_type),
            Link::Unknown => return None,
        };
        while matches!(ether_type, 0x8100 | 0x88a8) {
            ether_type = u16_at(packet, network + 2)?;
            network += 4;
        }
        let (protocol, header, addresses) = match ether_type {
            ETH_P_IP => {
                let words = usize::from(packet.get(network)? & 0xf);
                if u16_at(packet, network + 6)? & 0x1fff != 0 {
                    return None;
                }
                let header = network + words * 4;
                (*packet.get(network + 9)?, header, (network + 12, 8))
            }
            ETH_P_IPV6 => (*packet.get(network + 6)?, network + 40, (network + 8, 32)),
            _ => return None,
        };
        let payload = match protocol {
            TCP => header + usize::from(packet.get(header + 12)? >> 4) * 4,
            UDP => header + 8,
            _ => return None,
        };
        (payload <= packet.len()).then_some(Self {
            ethernet,
            network,
            addresses,
            protocol,
            header,
            payload,
        })
    }

    /// The place of the checksum.
    pub fn checksum(&self) -> Range<usize> {
        let at = self.header + if self.protocol == TCP { 16 } else { 6 };
        at..at + 2
    }

    /// How many bytes of payload a packet of `size` bytes has, with the padding of a short frame.
    pub fn payload(&self, size: u32) -> u32 {
        size.saturating_sub(u32::try_from(self.payload).unwrap_or(u32::MAX))
    }

    /// Whether `segment` may be the part of `packet` that begins after `offset` bytes of its payload.
    pub fn is_segment(
        &self,
        packet: &[u8],
        of_segment: &Self,
        segment: &[u8],
        offset: u32,
    ) -> bool {
        fn flow<'a>(t: &Transport, bytes: &'a [u8]) -> Option<[&'a [u8]; 3]> {
            let (at, len) = t.addresses;
            Some([
                bytes.get(..t.ethernet)?,
                bytes.get(at..at + len)?,
                bytes.get(t.header..t.header + 4)?,
            ])
        }
        let sequence = |t: &Self, bytes: &[u8]| {
            let bytes = bytes.get(t.header + 4..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let in_sequence = self.protocol != TCP
            || match (sequence(self, packet), sequence(of_segment, segment)) {
                (Some(first), Some(this)) => this == first.wrapping_add(offset),
                _ => false,
            };
        self.protocol == of_segment.protocol
            && in_sequence
            && flow(self, packet) == flow(of_segment, segment)
    }
}
