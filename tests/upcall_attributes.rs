//! What an upcall has besides its flow key and packet: each cookie, each attribute, cut and damaged in every place.
//!
//! The cookies are made after `lib/odp-util.h` of the releases of Open vSwitch that the tests name; `tests/actions.rs`
//! compares the text of those of 2.9 and later with Open vSwitch's own. The messages are made after
//! `queue_userspace_packet()` (`net/openvswitch/datapath.c` of Linux 6.12).

use std::time::{Duration, Instant};

use ovs_tracers::ovs::flow_key::no_names;
use ovs_tracers::ovs::upcall_attributes::{Undecoded, UpcallAttributes};
use ovs_tracers::ovs::userdata::Userdata;
use ovs_tracers::show::json::Line;
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{attribute, port_name};

#[path = "common/vectors.rs"]
#[allow(dead_code, reason = "the vectors are other tests'")]
mod common;
#[path = "common/schema.rs"]
mod schema;

// `enum ovs_packet_attr`.
const PACKET: u16 = 1;
const KEY: u16 = 2;
const ACTIONS: u16 = 3;
const USERDATA: u16 = 4;
const EGRESS_TUN_KEY: u16 = 5;
const MRU: u16 = 9;
const LEN: u16 = 10;
const HASH: u16 = 11;

/// Bytes in network byte order, or without one; a number in this host's.
macro_rules! bytes {
    ($($part:expr),* $(,)?) => { [$(&$part[..]),*].concat() };
}

fn u16(value: u16) -> [u8; 2] {
    value.to_ne_bytes()
}

fn u32(value: u32) -> [u8; 4] {
    value.to_ne_bytes()
}

fn u64(value: u64) -> [u8; 8] {
    value.to_ne_bytes()
}

/// A cookie of Open vSwitch 2.9 to 4.0: the head of the structure, then `own`.
fn cookie(kind: u16, own: &[u8]) -> Vec<u8> {
    let uuid = bytes![u32(0x0d1a_2b3c), u32(0x4d5e_6f70), u32(0x8192_a3b4), u32(5)];
    let mut cookie = bytes![u16(kind), [0; 2], u32(7), uuid, own];
    cookie.resize(48, 0);
    cookie
}

fn text(run: &[u8]) -> String {
    let mut text = String::new();
    UpcallAttributes::new(run, run.len())
        .text(port_name, &mut text)
        .expect("a String takes everything");
    text
}

const FIELDS: [&str; 8] = [
    "reason",
    "userdata",
    "hash",
    "mru",
    "len",
    "egress_tunnel",
    "actions",
    "undecoded",
];

/// The fields as JSON, which are those of the schema.
fn fields(attributes: &UpcallAttributes<'_>) -> Value {
    let mut line = Line::default();
    line.record("event");
    for name in ["time_ns", "cpu", "pid", "tid", "type", "result"] {
        line.field(name, 1);
    }
    line.field("wall_time", "2026-01-01T00:00:00.000000000Z");
    line.field("comm", "handler1");
    line.field("datapath", ());
    line.field("port", ());
    for name in ["packet", "key"] {
        line.begin(name, b'{');
        line.field("length", 0);
        line.field("captured", 0);
        line.field("error", -14);
        if name == "packet" {
            line.field("link", "ethernet");
        }
        line.end(b'}');
    }
    attributes.json(no_names, &mut line);
    let mut out = Vec::new();
    line.write(&mut out).expect("memory takes everything");
    let out = String::from_utf8(out).expect("JSON is text");
    let mut event = SCHEMA.with(|schema| schema.lines(&out).remove(0));
    let event = event.as_object_mut().expect("an object");
    event.retain(|name, _| FIELDS.contains(&name.as_str()));
    Value::Object(event.clone())
}

thread_local! {
    static SCHEMA: schema::Schema = schema::Schema::of("upcall-monitor");
}

fn json(run: &[u8]) -> Value {
    fields(&UpcallAttributes::new(run, run.len()))
}

/// What the text, the reason and the JSON of userdata are, without what all JSON has.
fn userdata(bytes: &[u8]) -> (String, String, Value) {
    let userdata = Userdata::new(bytes);
    let mut odp = String::new();
    userdata.odp(port_name, &mut odp).expect("a String");
    let mut json = json(&attribute(USERDATA, bytes));
    assert_eq!(json["reason"], userdata.reason().to_string());
    let mut fields = json["userdata"].take();
    assert_eq!(fields["length"], bytes.len());
    let object = fields.as_object_mut().expect("an object");
    for name in ["length", "odp"] {
        object.remove(name).expect("all have it");
    }
    (userdata.reason().to_string(), odp, fields)
}

#[track_caller]
fn check(bytes: &[u8], reason: &str, odp: &str, fields: Value) {
    assert_eq!(
        userdata(bytes),
        (reason.to_string(), odp.to_string(), fields)
    );
}

/// With the fields that all cookies of 48 bytes have.
fn with_bridge(fields: Value) -> Value {
    let mut fields = fields;
    fields["ofp_in_port"] = json!(7);
    fields["ofproto_uuid"] = json!("0d1a2b3c-4d5e-6f70-8192-a3b400000005");
    fields
}

/// Check that each cookie of Open vSwitch 2.9 to 4.0 is decoded.
#[test]
fn cookies() {
    check(
        &cookie(1, &bytes![[0xf0, 0x09], [0; 2], u32(10)]),
        "sflow",
        "sFlow(vid=9,pcp=7,output=10)",
        with_bridge(json!({"type": 1, "type_name": "sflow", "vid": 9, "pcp": 7, "output": 10})),
    );
    check(
        &cookie(2, &bytes![[0; 4], u32(0x7f)]),
        "slow_path(cfm,bfd,lacp,stp,lldp,action,match)",
        "slow_path(cfm,bfd,lacp,stp,lldp,action,match)",
        with_bridge(json!({
            "type": 2, "type_name": "slow_path", "reasons": 127,
            "reasons_names": ["cfm", "bfd", "lacp", "stp", "lldp", "action", "match"],
        })),
    );
    check(
        &cookie(
            3,
            &bytes![u16(123), [0; 2], u32(4), u32(5), u32(6), u32(1), u32(2)],
        ),
        "flow_sample",
        &format!(
            "flow_sample(probability=123,collector_set_id=4,obs_domain_id=5,obs_point_id=6,output_port={},egress)",
            port_name(1).expect("a name")
        ),
        with_bridge(json!({
            "type": 3, "type_name": "flow_sample", "probability": 123, "collector_set_id": 4, "obs_domain_id": 5,
            "obs_point_id": 6, "output_port": 1, "direction": 2, "direction_name": "egress",
        })),
    );
    check(
        &cookie(4, &u32(u32::MAX)),
        "ipfix",
        "ipfix(output_port=4294967295)",
        with_bridge(json!({"type": 4, "type_name": "ipfix", "output_port": u32::MAX})),
    );
    let rule_cookie = 0x5555_u64.to_be_bytes();
    check(
        &cookie(
            5,
            &bytes![
                [1, 0],
                u16(1),
                u32(4444),
                rule_cookie,
                u16(6666),
                u16(65535)
            ],
        ),
        "controller(action)",
        "controller(reason=1,dont_send=1,continuation=0,recirc_id=4444,rule_cookie=0x5555,controller_id=6666,\
         max_len=65535)",
        with_bridge(json!({
            "type": 5, "type_name": "controller", "reason": 1, "reason_name": "action", "dont_send": true,
            "continuation": false, "recirc_id": 4444, "rule_cookie": "0x5555", "controller_id": 6666, "max_len": 65535,
        })),
    );
}

/// Check that each cookie of Open vSwitch 2.4 to 2.8 is decoded, and that the reasons of their slow path are theirs.
#[test]
fn cookies_before_2_9() {
    check(
        &bytes![u16(1), [0xf0, 0x09], u32(10)],
        "sflow",
        "sFlow(vid=9,pcp=7,output=10)",
        json!({"type": 1, "type_name": "sflow", "vid": 9, "pcp": 7, "output": 10}),
    );
    check(
        &bytes![u16(2), [0; 2], u32(0x74)],
        "slow_path(lacp,lldp,controller,action)",
        "slow_path(lacp,lldp,controller,action)",
        json!({
            "type": 2, "type_name": "slow_path", "reasons": 0x74,
            "reasons_names": ["lacp", "lldp", "controller", "action"],
        }),
    );
    check(
        &bytes![u16(4), [0; 2], u32(77)],
        "ipfix",
        "ipfix(output_port=77)",
        json!({"type": 4, "type_name": "ipfix", "output_port": 77}),
    );
    let sample = bytes![u16(3), u16(9), u32(4), u32(5), u32(6), u32(77), u32(1)];
    let start = "flow_sample(probability=9,collector_set_id=4,obs_domain_id=5,obs_point_id=6";
    let mut fields = json!({
        "type": 3, "type_name": "flow_sample", "probability": 9, "collector_set_id": 4, "obs_domain_id": 5,
        "obs_point_id": 6,
    });
    check(
        &sample[..16],
        "flow_sample",
        &format!("{start})"),
        fields.clone(),
    );
    fields["output_port"] = json!(77);
    let odp = format!("{start},output_port=77)");
    check(&sample[..20], "flow_sample", &odp, fields.clone());
    fields["direction"] = json!(1);
    fields["direction_name"] = json!("ingress");
    let odp = format!("{start},output_port=77,ingress)");
    check(&sample, "flow_sample", &odp, fields);
}

/// Check that userdata of another length or type is unknown, with all of its bytes.
#[test]
fn unknown_userdata() {
    let known: [&[usize]; 7] = [
        &[],
        &[8, 48],
        &[8, 48],
        &[16, 20, 24, 48],
        &[8, 48],
        &[48],
        &[],
    ];
    for (kind, known) in (0u16..).zip(known) {
        for len in 0..100 {
            let mut bytes = cookie(kind, &[]);
            bytes.resize(len, 0);
            let (reason, odp, fields) = userdata(&bytes);
            assert_eq!(
                reason != "unknown",
                known.contains(&len),
                "type {kind} of {len} bytes"
            );
            if reason == "unknown" {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(odp, format!("userdata({hex})"));
                assert!(fields["bytes"].is_string());
            }
        }
    }
}

/// Check that each reason has its name, and that bits and numbers without one are shown as numbers.
#[test]
fn reasons() {
    let of = |kind, own: &[u8]| Userdata::new(&cookie(kind, own)).reason().to_string();
    let slow_path = |bits| of(2, &bytes![[0; 4], u32(bits)]);
    assert_eq!(slow_path(0), "slow_path(0)");
    assert_eq!(slow_path(0x104), "slow_path(lacp,0x100)");
    let controller = |reason| of(5, &bytes![[0; 2], u16(reason)]);
    let names: Vec<_> = (0..9).map(controller).collect();
    let expected = [
        "controller(no_match)",
        "controller(action)",
        "controller(invalid_ttl)",
        "controller(action_set)",
        "controller(group)",
        "controller(packet_out)",
        "controller(explicit_miss)",
        "controller(implicit_miss)",
        "controller(8)",
    ];
    assert_eq!(names, expected);
}

/// A message that has everything: behind the key what an upcall may have, then the packet.
fn message() -> Vec<u8> {
    let tunnel = bytes![
        attribute(0, &[0, 0, 0, 0, 0, 0, 0, 5]),
        attribute(2, &[10, 0, 0, 2]),
        attribute(4, &[64]),
    ];
    bytes![
        attribute(KEY, &attribute(3, &u32(2))),
        attribute(USERDATA, &cookie(2, &bytes![[0; 4], u32(4)])),
        attribute(EGRESS_TUN_KEY, &tunnel),
        attribute(ACTIONS, &attribute(1, &u32(77))),
        attribute(MRU, &u16(1500)),
        attribute(LEN, &u32(9000)),
        attribute(HASH, &u64(0x3_0000_12ab)),
        attribute(PACKET, &[0xee; 61]),
    ]
}

const MESSAGE: &str = "reason=slow_path(lacp),hash=0x3000012ab,mru=1500,len=9000,\
                       egress_tunnel=tunnel(tun_id=0x5,dst=10.0.0.2,ttl=64,flags(key)),actions=77";

/// Check that each attribute is shown, with and without the key and the packet around them.
#[test]
fn attributes() {
    let message = message();
    assert_eq!(text(&message), MESSAGE);
    let between = &message[12..message.len() - 4 - 64];
    assert_eq!(text(between), MESSAGE);
    let mut fields = json(between);
    assert_eq!(fields, json(&message));
    assert_eq!(fields["userdata"]["odp"], "slow_path(lacp)");
    let object = fields.as_object_mut().expect("an object");
    object.remove("userdata");
    assert_eq!(
        fields,
        json!({
            "reason": "slow_path(lacp)", "hash": "0x3000012ab", "mru": 1500, "len": 9000,
            "egress_tunnel": "tunnel(tun_id=0x5,dst=10.0.0.2,ttl=64,flags(key))", "actions": "77",
        })
    );
}

/// Check that a cookie which has more than its reason is shown as a whole, and that lines are there only if something
/// is to be shown.
#[test]
fn lines() {
    let run = attribute(USERDATA, &cookie(4, &u32(77)));
    let mut out = String::from("row\n");
    let lines = |run: &[u8], out: &mut String| {
        let attributes = UpcallAttributes::new(run, run.len());
        attributes.lines(no_names, out).expect("a String");
    };
    lines(&run, &mut out);
    lines(&[], &mut out);
    lines(&attribute(KEY, &[]), &mut out);
    assert_eq!(
        out,
        "row\n    reason=ipfix,userdata=ipfix(output_port=77)\n"
    );
}

/// Check that unknown attributes, those of a wrong length and those that do not count are shown as bytes.
#[test]
fn undecoded() {
    let run = bytes![
        attribute(MRU, &u16(0x0505)),
        attribute(99, &[1, 2]),
        attribute(MRU, &[1, 2, 3]),
        attribute(LEN, &u32(0x0101_0101)),
        attribute(LEN, &u32(1)),
        attribute(8, &[]),
    ];
    assert_eq!(
        text(&run),
        "len=1,mru(repeated)(05 05),attr99(01 02),mru(bad length 3, expected 2)(01 02 03),\
         len(repeated)(01 01 01 01),attr8()"
    );
    assert_eq!(
        json(&run),
        json!({"len": 1, "undecoded": [
            {"at": 0, "why": "repeated", "type": 9, "type_name": "OVS_PACKET_ATTR_MRU", "length": 2, "captured": 2,
             "bytes": "BQU="},
            {"at": 8, "why": "unknown", "type": 99, "length": 2, "captured": 2, "bytes": "AQI="},
            {"at": 16, "why": "length", "type": 9, "type_name": "OVS_PACKET_ATTR_MRU", "length": 3, "captured": 3,
             "bytes": "AQID"},
            {"at": 24, "why": "repeated", "type": 10, "type_name": "OVS_PACKET_ATTR_LEN", "length": 4, "captured": 4,
             "bytes": "AQEBAQ=="},
            {"at": 40, "why": "unknown", "type": 8, "type_name": "OVS_PACKET_ATTR_PROBE", "length": 0, "captured": 0},
        ]})
    );
    let nonsense = bytes![attribute(MRU, &u16(1)), u16(3), u16(MRU)];
    assert_eq!(text(&nonsense), "mru=1,<nla_len 3 < 4 at byte 8>");
    assert_eq!(
        json(&nonsense)["undecoded"],
        json!([{"at": 8, "why": "nla_len", "nla_len": 3}])
    );
}

/// Check that a message cut at any byte shows what was before the cut and nothing else of it, and says where it is cut
/// unless that is in the packet.
#[test]
fn cut_anywhere() {
    let message = message();
    let whole = json(&message);
    let packet = message.len() - 4 - 64;
    for end in 0..=message.len() {
        let attributes = UpcallAttributes::new(&message[..end], message.len());
        let mut text = String::new();
        attributes.text(no_names, &mut text).expect("a String");
        let fields = fields(&attributes);
        let says = fields["undecoded"].as_array().map_or(0, Vec::len);
        let expected = usize::from(end < packet + 4);
        assert_eq!(says, expected, "cut at {end}: {fields}");
        let is_marked = text.contains("<cut at byte");
        assert_eq!(is_marked, expected == 1, "cut at {end}: {text}");
        for (name, value) in fields.as_object().expect("an object") {
            // What is nested is shown as far as it goes.
            if !["undecoded", "egress_tunnel", "actions"].contains(&name.as_str()) {
                assert_eq!(value, &whole[name], "cut at {end}");
            }
        }
    }
    let cut = UpcallAttributes::new(&message[12..12 + 20], message.len() - 12);
    assert_eq!(cut.reason(), None);
    let mut text = String::new();
    cut.text(no_names, &mut text).expect("a String");
    assert_eq!(
        text,
        "userdata(<cut at byte 0: 16 of 48 bytes: 02 00 00 00 07 00 00 00 3c 2b 1a 0d 70 6f 5e 4d>)"
    );
}

/// Check that very many attributes take no time that grows with the square of their number.
///
/// Before, these took 40 seconds and more.
#[test]
fn many_attributes() {
    const COUNT: usize = 1 << 17;
    let run = attribute(MRU, &u16(1500)).repeat(COUNT);
    let attributes = UpcallAttributes::new(&run, run.len());
    let started = Instant::now();
    let repeated = |it: Undecoded<'_>| matches!(it, Undecoded::Repeated(_));
    assert_eq!(attributes.undecoded().count(), COUNT - 1);
    assert!(attributes.undecoded().all(repeated));
    assert_eq!(attributes.mru(), Some(1500));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

proptest! {
    /// Check that arbitrary bytes do no harm.
    #[test]
    fn arbitrary_bytes_do_no_harm(run in prop::collection::vec(any::<u8>(), 0..200), more in 0usize..100) {
        fields(&UpcallAttributes::new(&run, run.len() + more));
        text(&run);
        userdata(&run);
    }

    /// Check the same for well-formed attributes of every type with arbitrary payloads, cut anywhere.
    #[test]
    fn arbitrary_attributes_do_no_harm(
        attributes in prop::collection::vec((0u16..15, prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        end in any::<prop::sample::Index>(),
    ) {
        let run: Vec<u8> = attributes.iter().flat_map(|(kind, payload)| attribute(*kind, payload)).collect();
        let run = &run[..end.index(run.len() + 1)];
        json(run);
        text(run);
    }
}
