//! Requests of flow operations as ovs-vswitchd builds them, and cut and damaged ones.
//!
//! The messages are put together by hand, in the order in which `dpif_netlink_flow_to_ofpbuf()` and
//! `dpif_netlink_encode_execute()` (`lib/dpif-netlink.c` of Open vSwitch 3.1) do it, with the numbers of
//! linux/openvswitch.h.

use ovs_tracers::ovs::flow_key::Stop;
use ovs_tracers::ovs::flow_request::{Command, Operation, Problem, Request, TooShort, Ufid};
use ovs_tracers::ovs::packet::Link;
use proptest::prelude::*;

use common::attribute;

#[path = "common/vectors.rs"]
#[allow(dead_code, reason = "the vectors are other tests'")]
mod common;

const UFID: [u8; 16] = [
    0x3c, 0x2b, 0x1a, 0x0d, 0x70, 0x6f, 0x5e, 0x4d, 0xb4, 0xa3, 0x92, 0x81, 0xf8, 0xe7, 0xd6, 0xc5,
];

/// A message with its lengths, sequence and port as they are at the probes.
fn message(flags: u16, cmd: u8, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = 0u32.to_ne_bytes().to_vec();
    bytes.extend(34u16.to_ne_bytes());
    bytes.extend((1 | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([cmd, 1, 0, 0]);
    bytes.extend(21i32.to_ne_bytes());
    bytes.extend(attributes);
    bytes
}

fn put() -> Vec<u8> {
    [
        attribute(9, &UFID),
        attribute(1, &attribute(3, &2u32.to_ne_bytes())),
        attribute(7, &attribute(3, &[0xff; 4])),
        attribute(2, &attribute(1, &5u32.to_ne_bytes())),
    ]
    .concat()
}

/// Check that a put yields its headers, its key, mask and actions with offsets from its start, and its identifier as
/// `ovs-dpctl dump-flows -m` prints it.
#[test]
fn a_put() {
    let bytes = message(0x400, 1, &put());
    let request = Request::parse(Operation::Put, &bytes).expect("it has its headers");
    assert_eq!(request.command(), Some(Command::Create));
    assert_eq!(request.headers.dp_ifindex.get(), 21);
    assert_eq!(request.headers.nlmsg_type.get(), 34);
    assert_eq!(request.headers.nlmsg_flags.get(), 0x401);
    let ufid = request.ufid().expect("a UFID");
    assert_eq!(ufid, Ufid(UFID));
    #[cfg(target_endian = "little")]
    assert_eq!(ufid.to_string(), "0d1a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8");
    let key = request.key().expect("a key");
    assert_eq!((key.at, key.payload.len()), (44, 8));
    assert_eq!(request.mask().expect("a mask").at, 56);
    let actions = request.actions().expect("actions");
    assert_eq!((actions.at, actions.payload), (68, &bytes[72..]));
    assert!(!request.is_probe() && !request.clears_stats());
    assert_eq!((request.packet(), request.mru()), (None, None));
    assert_eq!(request.attributes().count(), 4);
    assert_eq!(request.name(9), Some("OVS_FLOW_ATTR_UFID"));
    assert_eq!(request.problems().next(), None);
}

/// Check that the command and its flags say what is asked for, by the operation and not by the number alone.
#[test]
fn commands() {
    let command = |operation, flags, cmd| {
        let bytes = message(flags, cmd, &[]);
        let request = Request::parse(operation, &bytes).expect("it has its headers");
        (request.command(), request.problems().collect::<Vec<_>>())
    };
    for (operation, flags, cmd, expected) in [
        (Operation::Put, 0x400, 1, Command::Create),
        (Operation::Put, 0x200, 1, Command::Create),
        (Operation::Put, 0, 1, Command::CreateOrModify),
        (Operation::Put, 0x8, 4, Command::Modify),
        (Operation::Del, 0x8, 2, Command::Delete),
        (Operation::Get, 0, 3, Command::Get),
        (Operation::Execute, 0, 3, Command::Execute),
    ] {
        assert_eq!(command(operation, flags, cmd), (Some(expected), vec![]));
    }
    for (operation, cmd) in [
        (Operation::Put, 3),
        (Operation::Del, 1),
        (Operation::Get, 4),
        (Operation::Execute, 1),
    ] {
        let problem = Problem::Command { cmd };
        assert_eq!(command(operation, 0, cmd), (None, vec![problem]));
        assert_eq!(problem.to_string(), format!("unknown command {cmd}"));
    }
}

/// Check that the flags and figures of a flow are read.
#[test]
fn a_probe_that_clears() {
    let stats = [7u64.to_ne_bytes(), 700u64.to_ne_bytes()].concat();
    let attributes = [
        attribute(10, &5u32.to_ne_bytes()),
        attribute(3, &stats),
        attribute(6, &[]),
        attribute(8, &[]),
    ];
    let bytes = message(0, 4, &attributes.concat());
    let request = Request::parse(Operation::Put, &bytes).expect("it has its headers");
    assert_eq!(request.ufid_flags(), Some(5));
    assert_eq!(request.stats(), Some((7, 700)));
    assert!(request.is_probe() && request.clears_stats());
    assert_eq!((request.ufid(), request.key()), (None, None));
    assert_eq!(request.problems().next(), None);
}

/// Check that an execute has a packet, and what the same numbers mean in it.
#[test]
fn an_execute() {
    let attributes = [
        attribute(1, &[0xaa; 15]),
        attribute(2, &attribute(2, &[0; 4])),
        attribute(3, &attribute(1, &5u32.to_ne_bytes())),
        attribute(8, &[]),
        attribute(9, &1500u16.to_ne_bytes()),
        attribute(11, &0x1_0000_0002u64.to_ne_bytes()),
        attribute(12, &77u32.to_ne_bytes()),
    ];
    let bytes = message(0, 3, &attributes.concat());
    let request = Request::parse(Operation::Execute, &bytes).expect("it has its headers");
    assert_eq!(request.packet().expect("a packet").payload, [0xaa; 15]);
    assert_eq!(request.packet_link(), Link::Ethernet);
    assert_eq!(request.key().expect("a key").at, 24 + 20);
    assert_eq!(request.actions().expect("actions").at, 24 + 20 + 12);
    assert_eq!(
        (request.mru(), request.hash()),
        (Some(1500), Some(0x1_0000_0002))
    );
    assert_eq!(request.upcall_pid(), Some(77));
    assert!(request.is_probe());
    assert_eq!((request.mask(), request.ufid()), (None, None));
    assert_eq!(request.name(9), Some("OVS_PACKET_ATTR_MRU"));
    assert_eq!(request.problems().next(), None);
}

/// Check that the metadata of an execute say if its packet has no Ethernet header, in text too, and that without all of
/// them it is not known.
#[test]
fn an_execute_without_ethernet() {
    let metadata = [attribute(3, &[4, 0, 0, 0]), attribute(6, &[0x88, 0x47])].concat();
    let attributes = [
        attribute(1, &[0xaa; 15]),
        attribute(2, &metadata),
        attribute(3, &attribute(1, &5u32.to_ne_bytes())),
    ];
    let bytes = message(0, 3, &attributes.concat());
    let of = |len| {
        Request::parse_beginning(Operation::Execute, &bytes[..len], bytes.len())
            .expect("its headers")
    };
    let text = |len| {
        let mut text = String::new();
        of(len)
            .odp(|_| None::<&str>, &mut text)
            .expect("it can be written");
        text
    };
    assert_eq!(of(bytes.len()).packet_link(), Link::Network(0x8847));
    let said = "packet of 15 bytes (EtherType 0x8847 without Ethernet header)";
    assert!(text(bytes.len()).contains(said), "{}", text(bytes.len()));
    // Behind in_port, and before the metadata.
    for len in [24 + 20 + 4 + 8, 24 + 20] {
        assert_eq!(of(len).packet_link(), Link::Unknown);
        assert!(
            text(len).contains("packet of 15 bytes (of unknown link type)"),
            "{}",
            text(len)
        );
    }
}

/// Check that each problem is reported with the place of the attribute that has it, and that the rest is read.
#[test]
fn problems() {
    let mut attributes = [
        attribute(9, &[1, 2]),
        attribute(2, &[]),
        attribute(77, &[1]),
        attribute(2, &attribute(1, &5u32.to_ne_bytes())),
    ]
    .concat();
    attributes.extend([20, 0, 1, 0, 9]);
    let bytes = message(0x400, 1, &attributes);
    let request = Request::parse(Operation::Put, &bytes).expect("it has its headers");
    let problems: Vec<_> = request.problems().map(|p| p.to_string()).collect();
    assert_eq!(
        problems,
        [
            "OVS_FLOW_ATTR_UFID at byte 24 has 2 bytes, not 16",
            "OVS_FLOW_ATTR_ACTIONS at byte 32 is followed by another",
            "unknown attribute 77 at byte 36",
            "cut at byte 56: 1 of 16 bytes",
        ]
    );
    assert_eq!(request.ufid(), None);
    assert_eq!(request.actions().expect("actions").payload.len(), 8);
    let key = request.key().expect("the part of a key");
    assert_eq!((key.payload, key.payload_len()), (&[9][..], 16));

    let last =
        |end: usize| Request::parse(Operation::Put, &bytes[..end]).map(|r| r.problems().last());
    let stop = Problem::Stopped(Stop::Header { at: 56, left: 3 });
    assert_eq!(last(59).expect("it has its headers"), Some(stop));
    assert_eq!(stop.to_string(), "cut at byte 56: 3 of 4 header bytes");
    for end in 0..24 {
        assert_eq!(last(end).expect_err("its headers are cut"), TooShort(end));
    }
    assert_eq!(last(24).expect("it has its headers"), None);
}

proptest! {
    /// Check that no bytes make the reader panic or claim an attribute that is not in them.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        run in prop::collection::vec((0u16..20, prop::collection::vec(any::<u8>(), 0..24)), 0..8),
        rest in prop::collection::vec(any::<u8>(), 0..24),
        cut in 0usize..300,
        operation in prop::sample::select(
            &[Operation::Put, Operation::Del, Operation::Get, Operation::Execute][..]
        ),
    ) {
        let mut attributes: Vec<u8> =
            run.iter().flat_map(|(kind, data)| attribute(*kind, data)).collect();
        attributes.extend(rest);
        let mut bytes = message(0, 1, &attributes);
        bytes.truncate(cut);
        if let Ok(request) = Request::parse(operation, &bytes) {
            let parts = [request.key(), request.mask(), request.actions(), request.packet()];
            for part in parts.into_iter().flatten() {
                let end = part.at + 4 + part.payload.len();
                prop_assert_eq!(part.payload, &bytes[part.at + 4..end]);
            }
            for problem in request.problems() {
                prop_assert!(!problem.to_string().is_empty());
            }
            let _ = (request.ufid(), request.ufid_flags(), request.stats(), request.hash());
        }
    }
}
