//! Records of version 2: what upcall-cost recorded before it could take events from the kernel alone.

use crate::bpf::upcall_cost::types::cost_record;

/// What the data of a record followed.
const HEADER: usize = 144;
/// What it lacked at its end.
const NEW: usize = size_of::<cost_record>() - HEADER;

/// Appends `record` to `to` as one of today's version. One that is shorter than its header stays as it is, which is too
/// short for today's version too.
pub(super) fn upgrade(record: &[u8], to: &mut Vec<u8>) {
    let Some((header, data)) = record.split_at_checked(HEADER) else {
        to.extend_from_slice(record);
        return;
    };
    to.extend_from_slice(header);
    to.extend_from_slice(&[0; NEW]);
    to.extend_from_slice(data);
}
