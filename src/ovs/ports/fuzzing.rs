//! A way for the fuzz targets to the readers of the kernel's answers.

use super::OVS_VPORT_MCGROUP;
use super::message::{Answer, datapath, family, group, vport};

/// What a message says, by each of its readers: number and name of a family, of a datapath and of a port, and the
/// number of the multicast group.
pub type Read = (
    Option<(u16, Vec<u8>)>,
    Option<(u32, Vec<u8>)>,
    Option<(u32, Vec<u8>)>,
    Option<u32>,
);

/// Reads a datagram as the answer to the request with this number: what each of its messages says, and whether the
/// answer ends there.
pub fn answer(sequence: u32, datagram: &[u8]) -> (Vec<Read>, Option<bool>) {
    let mut messages = Vec::new();
    let ended = Answer::to(sequence).read(datagram, |payload| {
        messages.push(message(payload));
        Some(())
    });
    (messages, ended.ok())
}

/// Reads the payload of a message.
pub fn message(payload: &[u8]) -> Read {
    (
        family(payload).map(|(id, name)| (id, name.to_bytes().to_vec())),
        datapath(payload).map(|(index, name)| (index, name.to_bytes().to_vec())),
        vport(payload).map(|(number, name)| (number, name.to_bytes().to_vec())),
        group(payload, OVS_VPORT_MCGROUP),
    )
}
