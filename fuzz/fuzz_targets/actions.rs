//! Actions of a flow and the userdata of those that send a packet to the daemon, as text and as JSON.
//!
//! Input: a byte that says how much is missing at the end, the actions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::ovs::actions;
use ovs_tracers::ovs::flow_key::Attribute;
use ovs_tracers::ovs::userdata::Userdata;
use ovs_tracers_fuzz::{attribute, check_odp, head, json, port_name, text};

/// Number of the action which has others in it, and of its attribute that they are in.
const SAMPLE: (u16, u16) = (6, 2);

fn show(run: &[u8], more: u8) {
    let actions = Attribute {
        at: 0,
        len: u16::try_from(run.len() + 4 + usize::from(more)).unwrap_or(u16::MAX),
        kind: 8,
        payload: run,
    };
    let shown = text(|out| actions::odp(&actions, port_name, out));
    assert!(!shown.is_empty());
    check_odp(&shown);
}

fuzz_target!(|data: &[u8]| {
    let Some(([more], run)) = head(data) else {
        return;
    };
    show(run, more);
    show(&attribute(SAMPLE.0, &attribute(SAMPLE.1, run)), more);

    let userdata = Userdata::new(run);
    check_odp(&text(|out| userdata.odp(port_name, out)));
    assert!(!userdata.reason().to_string().is_empty());
    let value = json(|line| userdata.json(port_name, line));
    assert_eq!(value["length"], run.len());
});
