//! What an upcall has besides key and packet, as text and as JSON, whole and cut.
//!
//! Input: a byte that says how much is missing, a run of `OVS_PACKET_ATTR_*`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::ovs::upcall_attributes::UpcallAttributes;
use ovs_tracers_fuzz::{check_odp, head, json, port_name, text};

fuzz_target!(|data: &[u8]| {
    let Some(([more], run)) = head(data) else {
        return;
    };
    let attributes = UpcallAttributes::new(run, run.len() + usize::from(more));
    let line = text(|out| attributes.text(port_name, out));
    check_odp(&line);
    let lines = text(|out| attributes.lines(port_name, out));
    assert!(lines.is_empty() || lines.ends_with('\n') && lines.contains(&line));
    let value = json(|line| attributes.json(port_name, line));
    let reason = attributes.reason().map(|reason| reason.to_string());
    assert_eq!(value["reason"].as_str(), reason.as_deref());
    let _ = attributes.undecoded().count();
    let _ = (attributes.mru(), attributes.packet_len(), attributes.hash());
});
