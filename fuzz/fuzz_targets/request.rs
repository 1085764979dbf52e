//! Requests to the datapath in every form of output, whole and of some only the beginning, and the operation that an
//! answer of the kernel is about.
//!
//! Input: two bytes of options, the message from its struct nlmsghdr on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::ovs::family::Family;
use ovs_tracers::ovs::flow_request::{Operation, Request};
use ovs_tracers::ovs::request_text;
use ovs_tracers::show::decode::Decode;
use ovs_tracers::trace::captured::Captured;
use ovs_tracers_fuzz::{head, json, port_name, text};

fuzz_target!(|data: &[u8]| {
    let Some(([options, more], bytes)) = head(data) else {
        return;
    };
    // Every operation that a message can be, and those of the probes.
    let mut operations = vec![
        Operation::Put,
        Operation::Del,
        Operation::Get,
        Operation::Execute,
    ];
    let commands = (0..16).flat_map(|command| [(command, 0), (command, 0x300)]);
    for family in Family::ALL {
        let known = commands
            .clone()
            .filter_map(|(command, flags)| family.operation(command, flags));
        operations.extend(known);
    }
    let operation = operations[usize::from(options) % operations.len()];
    let message = Captured {
        len: bytes.len() as u32 + u32::from(more),
        bytes,
        error: None,
    };
    let request = Request::parse_beginning(operation, bytes, message.len as usize);
    if let Ok(request) = &request {
        let parts = [
            request.key(),
            request.mask(),
            request.actions(),
            request.packet(),
        ];
        for part in parts.into_iter().flatten() {
            let end = part.at + 4 + part.payload.len();
            assert_eq!(part.payload, &bytes[part.at + 4..end]);
        }
        for problem in request.problems() {
            assert!(!problem.to_string().is_empty());
        }
        let _ = text(|out| request.title(out));
        let _ = (
            request.ufid(),
            request.stats(),
            request.hash(),
            request.upcall_pid(),
        );
    }
    for decode in [Decode::None, Decode::Hex, Decode::Nlraw, Decode::Odp] {
        let shown = text(|out| request_text::lines(&message, &request, decode, port_name, out));
        assert!(shown.is_empty() || shown.ends_with('\n'), "{shown}");
        assert!(
            !shown.contains(|c: char| c.is_control() && c != '\n'),
            "{shown:?}"
        );
    }
    let _ = json(|line| request_text::json(&message, &request, port_name, line));
});
