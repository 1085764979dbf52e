//! Finds the transport header of a packet. It identifies the receives of an upcall that the tracepoint showed before
//! the kernel segmented the packet or completed its checksum.

use std::ops::Range;

const ETH_ADDRESSES: usize = 12;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP or UDP packet, not a later fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
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

impl Transport {
    /// Finds the header, if all of it was captured.
    pub fn find(packet: &[u8]) -> Option<Self> {
        let mut network = ETH_ADDRESSES + 2;
        while matches!(u16_at(packet, network - 2)?, 0x8100 | 0x88a8) {
            network += 4;
        }
        let (protocol, header, addresses) = match u16_at(packet, network - 2)? {
            0x0800 => {
                let words = usize::from(packet.get(network)? & 0xf);
                if u16_at(packet, network + 6)? & 0x1fff != 0 {
                    return None;
                }
                let header = network + words * 4;
                (*packet.get(network + 9)?, header, (network + 12, 8))
            }
            0x86dd => (*packet.get(network + 6)?, network + 40, (network + 8, 32)),
            _ => return None,
        };
        let payload = match protocol {
            TCP => header + usize::from(packet.get(header + 12)? >> 4) * 4,
            UDP => header + 8,
            _ => return None,
        };
        (payload <= packet.len()).then_some(Self {
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
                bytes.get(..ETH_ADDRESSES)?,
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
