//! The bytes of one event, as the kernel delivers or a recording keeps them, checked once.

use std::mem::offset_of;
use std::ops::Range;

use super::{Event, Kind};
use crate::bpf::upcall_cost::types::cost_record;
use crate::upcall::event::Captured;

const HEADER: usize = offset_of!(cost_record, data);
/// Whoever changes `struct cost_record` changes the version of recordings too.
const _: () = assert!(HEADER == 144);

/// Bytes that do not make a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a record of {0} bytes is shorter than its header of {HEADER}")]
    Short(usize),
    #[error("a record claims {claimed} bytes of key and packet and has {has}")]
    Lengths { claimed: u64, has: usize },
    #[error("a record of the unknown event {0}")]
    Kind(u32),
}

/// The bytes of a field.
macro_rules! field {
    ($header:expr, $name:ident: $bytes:literal) => {{
        const OFFSET: usize = offset_of!(cost_record, $name);
        let header: &[u8; HEADER] = $header;
        let mut field = [0; $bytes];
        field.copy_from_slice(&header[OFFSET..OFFSET + $bytes]);
        field
    }};
}

impl<'a> Event<'a> {
    /// Reads a `struct cost_record` (`bpf/upcall_cost.h`).
    ///
    /// The kernel's ring hands out more bytes than the record uses; what lies behind them is never looked at.
    pub fn from_record(record: &'a [u8]) -> Result<Self, Error> {
        let Some((header, data)) = record.split_first_chunk::<HEADER>() else {
            return Err(Error::Short(record.len()));
        };
        macro_rules! u32_of {
            ($name:ident) => {
                u32::from_ne_bytes(field!(header, $name: 4))
            };
        }
        let number = u32_of!(event);
        let kind = *Kind::ALL.get(number as usize).ok_or(Error::Kind(number))?;
        let (key_len, packet_len) = (u32_of!(key_len), u32_of!(packet_len));
        let claimed = u64::from(key_len) + u64::from(packet_len);
        let bytes = usize::try_from(claimed)
            .ok()
            .and_then(|claimed| data.get(..claimed))
            .ok_or(Error::Lengths {
                claimed,
                has: data.len(),
            })?;
        let (key, packet) = bytes.split_at(key_len as usize);
        let errno = |error: u32| (error != 0).then_some(error.cast_signed().wrapping_neg());
        let mut event = Self {
            cpu: u32_of!(cpu),
            pid: u32_of!(pid),
            tid: u32_of!(tid),
            comm: c_string(&header[offset_of!(cost_record, comm)..][..16]),
            datapath: c_string(&header[offset_of!(cost_record, datapath)..][..32]),
            device: c_string(&header[offset_of!(cost_record, device)..][..16]),
            upcall_type: u32_of!(r#type),
            result: u32_of!(result).cast_signed(),
            portid: u32_of!(portid),
            skb: u64::from_ne_bytes(field!(header, skb: 8)),
            packet: Captured {
                len: u32_of!(packet_size),
                bytes: packet,
                error: errno(u32_of!(packet_error)),
            },
            key: Captured {
                len: u32_of!(key_size),
                bytes: key,
                error: errno(u32_of!(key_error)),
            },
            checksum: checksum(u32_of!(unfinished_checksum), u32_of!(checksum_size)),
            ..Self::new(kind, u64::from_ne_bytes(field!(header, time: 8)))
        };
        event.port = match kind {
            Kind::DpUpcall | Kind::DpFailed => Some(u32_of!(port)),
            Kind::RecvUpcall => crate::ovs::flow_key::in_port(key),
            _ => None,
        };
        Ok(event)
    }

    /// How many bytes of `record`, which this event was read from, it uses.
    pub fn record_len(&self) -> usize {
        HEADER + self.key.bytes.len() + self.packet.bytes.len()
    }
}

/// Where an unfinished checksum is.
fn checksum(at: u32, size: u32) -> Option<Range<usize>> {
    // That of SCTP is the longest.
    let (at, size) = (at as usize, size.min(4) as usize);
    (at > 0).then_some(at..at.saturating_add(size))
}

/// The bytes before the first NUL.
fn c_string(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}
