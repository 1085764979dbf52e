//! JSON Lines: that each line is what the schema says, and that what it says is what was in the record.

mod common;
#[path = "common/packets.rs"]
mod packets;
#[path = "common/schema.rs"]
mod schema;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use common::UPCALL_MONITOR;
use ovs_tracers::ovs::flow_key;
use ovs_tracers::ovs::packet::{Link, show};
use ovs_tracers::run::loss::Lost;
use ovs_tracers::run::recording::{Block, Reader, Start, Writer};
use ovs_tracers::trace::captured::Captured;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::json::Json;
use ovs_tracers::upcall::record;
use ovs_tracers::upcall::summary::{LOST, Summary};
use ovs_tracers::upcall::text::PacketDecode;
use packets::{kinds, vectors};
use proptest::prelude::*;
use schema::Schema;
use serde_json::{Map, Value, json};

const RECORDING: &str = "fixtures/recordings/lab-6.1.rec";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of("upcall-monitor"));

/// The lines of what was written, each of which must be one of the schema.
#[track_caller]
fn lines(text: &[u8]) -> Vec<Value> {
    SCHEMA.stream(std::str::from_utf8(text).expect("JSON is UTF-8"))
}

fn replay(recording: &Path, args: &[&str]) -> Output {
    Command::new(UPCALL_MONITOR)
        .arg("--replay")
        .arg(recording)
        .args(["--format", "json"])
        .args(args)
        .output()
        .expect("upcall-monitor starts")
}

fn recording() -> &'static Path {
    Path::new(RECORDING)
}

/// Every record of the recording.
static RECORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bytes = fs::read(RECORDING).expect("a recording");
    let mut reader = Reader::new(&bytes[..], &record::RECORDS).expect("a recording");
    let mut records = Vec::new();
    loop {
        match reader.next_block().expect("it is whole") {
            Block::Record(record) => records.push(record.to_vec()),
            Block::End => return records,
            _ => {}
        }
    }
});

fn upcall() -> Upcall<'static> {
    Upcall {
        time: 183_688_924_424,
        cpu: 1,
        pid: 288,
        tid: 289,
        comm: b"handler4",
        datapath: b"system@ovs-system",
        ..Upcall::default()
    }
}

fn captured(bytes: &[u8]) -> Captured<'_> {
    Captured {
        len: bytes.len() as u32,
        bytes,
        error: None,
    }
}

/// The line of one upcall.
#[track_caller]
fn event(upcall: &Upcall<'_>, port: Option<&str>) -> Value {
    let mut out = Vec::new();
    let start = Start::new(&record::RECORDS);
    let mut json = Json::new(&mut out, PacketDecode::Decode, &start).unwrap();
    let wall = upcall.time.saturating_add(1_790_000_000_000_000_000);
    json.event(upcall, port, Some(288), |_| None::<&str>, wall)
        .unwrap();
    lines(&out).remove(1)
}

#[track_caller]
fn key(bytes: &[u8]) -> Value {
    let upcall = Upcall {
        key: captured(bytes),
        ..upcall()
    };
    event(&upcall, None)["key"].take()
}

/// A netlink attribute with its padding.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Check that all lines of all recordings of upcall-monitor are of the schema, whatever is asked of the packets, and that there are as
/// many as there were upcalls.
#[test]
fn recordings() {
    let files = fs::read_dir("fixtures/recordings").unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files = names.filter(|name| name.starts_with("lab-") && name.ends_with(".rec"));
    for file in files.map(|name| Path::new("fixtures/recordings").join(name)) {
        for decode in ["none", "hex", "decode"] {
            let output = replay(&file, &["-d", decode]);
            assert!(output.status.success());
            let lines = lines(&output.stdout);
            let (start, summary) = (&lines[0], &lines[lines.len() - 1]);
            assert_eq!(start["record"], "start");
            assert_eq!(summary["record"], "summary");
            let events = &lines[1..lines.len() - 1];
            assert!(events.iter().all(|line| line["record"] == "event"));
            assert_eq!(summary["shown"], events.len());
            assert!(file != recording() || events.len() == RECORDS.len());
            for event in events {
                let packet = &event["packet"];
                assert_eq!(packet.get("bytes").is_some(), decode != "none");
                assert_eq!(packet.get("layers").is_some(), decode == "decode");
                // Some packets are cut, some are later fragments; nothing else of them is not decoded.
                let cut = packet["captured"] != packet["length"];
                let stops = packet["stopped"].as_array().into_iter().flatten();
                let whys: Vec<&str> = stops.filter_map(|stop| stop["why"].as_str()).collect();
                assert_eq!(whys.contains(&"cut"), cut && decode == "decode");
                assert!(
                    whys.iter().all(|why| ["cut", "fragment"].contains(why)),
                    "{whys:?}"
                );
            }
        }
    }
}

/// Check that the beginning of the recording is what it was when it was read and found right.
#[test]
fn golden() {
    let expected = recording().with_extension("jsonl");
    let output = replay(recording(), &["-d", "decode", "-c", "30"]);
    assert!(output.status.success());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected, &output.stdout).unwrap();
    }
    let expected = fs::read_to_string(expected).expect("an expected text");
    let shown = String::from_utf8(output.stdout).unwrap();
    for (number, (shown, expected)) in shown.lines().zip(expected.lines()).enumerate() {
        assert_eq!(shown, expected, "line {}", number + 1);
    }
    assert_eq!(shown.lines().count(), expected.lines().count());
}

/// Check that a recording which is cut off or damaged gives whole lines, a summary, and the error.
#[test]
fn cut_and_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.rec");
    let original = fs::read(RECORDING).unwrap();
    let whole = replay(recording(), &[]).stdout;
    for at in (499..original.len()).step_by(9973) {
        let mut damaged = original.clone();
        damaged[at] ^= 0x20;
        for bytes in [&original[..at], &damaged] {
            fs::write(&file, bytes).unwrap();
            let output = replay(&file, &[]);
            assert_eq!(output.status.code(), Some(1), "at {at}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("error: the recording"), "{stderr}");
            let lines = lines(&output.stdout);
            let (summary, events) = lines.split_last().expect("a start at least");
            assert_eq!(summary["record"], "summary");
            assert_eq!(summary["shown"], events.len() - 1);
            let end = whole
                .split_inclusive(|byte| *byte == b'\n')
                .take(events.len());
            assert!(
                output
                    .stdout
                    .starts_with(&end.flatten().copied().collect::<Vec<_>>())
            );
        }
    }
}

/// Check that lost, undecodable and unreadable upcalls of a recording are reported, and where.
#[test]
fn losses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.rec");
    // The offsets of packet_len, key_len, packet_at, packet_error and key_error in struct upcall_record.
    let mut unreadable = RECORDS[1][..112].to_vec();
    unreadable[56..68].fill(0);
    unreadable[68..70].copy_from_slice(&(-14i16).to_ne_bytes());
    unreadable[70..72].copy_from_slice(&(-14i16).to_ne_bytes());
    let mut writer = Writer::new(Vec::new(), &Start::new(&record::RECORDS)).unwrap();
    writer.clock(1_790_000_000_000_000_000).unwrap();
    writer.record(&RECORDS[0]).unwrap();
    writer.lost(&[7, 0]).unwrap();
    writer.record(&unreadable).unwrap();
    writer.record(b"too short").unwrap();
    writer.lost(&[7, 0]).unwrap();
    writer.lost(&[9, 1]).unwrap();
    fs::write(&file, writer.finish().unwrap()).unwrap();
    let output = replay(&file, &["-d", "hex"]);
    assert!(output.status.success());
    let lines = lines(&output.stdout);
    let tags: Vec<_> = lines
        .iter()
        .filter_map(|line| line["record"].as_str())
        .collect();
    assert_eq!(tags, ["start", "event", "lost", "event", "lost", "summary"]);
    assert_eq!(lines[1]["wall_time"], "2026-09-21T14:16:23.688924424Z");
    assert_eq!(
        lines[2],
        json!({"record": "lost", "lost": 7, "lost_reasons": {"ring_full": 7, "arguments_unreadable": 0}})
    );
    let event = &lines[3];
    let error = json!({"length": 42, "captured": 0, "error": 14, "error_name": "EFAULT", "link": "unknown"});
    assert_eq!(event["packet"], error);
    assert_eq!(event["key"]["error_name"], "EFAULT");
    assert_eq!(event["port"], Value::Null);
    assert_eq!(
        lines[4]["lost_reasons"],
        json!({"ring_full": 2, "arguments_unreadable": 1})
    );
    assert_eq!(
        lines[5],
        json!({
            "record": "summary", "fired": 13, "received": 2, "lost": 10,
            "lost_reasons": {"ring_full": 9, "arguments_unreadable": 1},
            "shown": 2, "failed": 0, "filtered": 0, "undecodable": 1, "left": 0, "packets_unreadable": 1, "keys_unreadable": 1, "names_unreadable": 0
        })
    );
}

/// Check that a replay names the daemon of each upcall after daemons were restarted: that of the start until then, and
/// those of the block from there on, in the order in which records number them. What was known of ports is forgotten.
#[test]
fn daemons_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.rec");
    // The offset of target in struct event_head, and a record of a key with in_port.
    let to = |target: u16| {
        let mut record = RECORDS[0].clone();
        record[22..24].copy_from_slice(&target.to_ne_bytes());
        record
    };
    let upcall = Upcall::from_record(&RECORDS[0]).unwrap();
    let (datapath, port) = (upcall.datapath, upcall.in_port().expect("a port"));
    let mut start = Start::new(&record::RECORDS);
    start.set("pid", 7);
    let mut writer = Writer::new(Vec::new(), &start).unwrap();
    writer.port(datapath, port, "before").unwrap();
    writer.record(&to(0)).unwrap();
    writer.daemons(&[8, 9]).unwrap();
    for target in [1, 0, 2] {
        writer.record(&to(target)).unwrap();
    }
    writer.port(datapath, port, "between").unwrap();
    writer.daemons(&[10]).unwrap();
    writer.record(&to(0)).unwrap();
    fs::write(&file, writer.finish().unwrap()).unwrap();
    let output = replay(&file, &[]);
    assert!(output.status.success());
    let lines = lines(&output.stdout);
    assert_eq!(lines[0]["pid"], 7);
    let events = &lines[1..lines.len() - 1];
    // There are two daemons, so that there is no third.
    let daemons: Vec<&Value> = events.iter().map(|event| &event["daemon"]).collect();
    assert_eq!(json!(daemons), json!([7, 9, 8, null, 10]));
    let ports: Vec<&Value> = events.iter().map(|event| &event["port"]["name"]).collect();
    assert_eq!(json!(ports), json!(["before", null, null, null, null]));
}

/// Check that the start says what the recording does, numbers as numbers.
#[test]
fn start() {
    let mut start = Start::new(&record::RECORDS);
    start.set("kernel", "6.1.0 \"x\"");
    start.set("pid", 288);
    start.set("packet_size", "many");
    let mut out = Vec::new();
    Json::new(&mut out, PacketDecode::None, &start).unwrap();
    let line = lines(&out).remove(0);
    assert_eq!(line["schema"], 2);
    assert_eq!(line["kernel"], "6.1.0 \"x\"");
    assert_eq!(line["pid"], 288);
    assert_eq!(line.get("packet_size"), None);
}

/// Check that counts of a run are reported as they are, however large.
#[test]
fn summary() {
    let mut out = Vec::new();
    let mut json = Json::new(&mut out, PacketDecode::None, &Start::new(&record::RECORDS)).unwrap();
    let summary = Summary {
        shown: 5,
        failed: 4,
        undecodable: 2,
        pending: 3,
        lost: Lost::of(LOST, &[u64::MAX, 1]),
        ..Default::default()
    };
    json.summary(&summary, None).unwrap();
    let line = lines(&out).remove(1);
    assert_eq!(line["fired"], u64::MAX);
    assert_eq!((&line["received"], &line["failed"]), (&json!(1), &json!(4)));
    assert_eq!(line["left"], 3);
    assert_eq!(line["lost_reasons"]["ring_full"], u64::MAX);
}

/// Check that names which other processes chose are in a line as they are, and absent ones null.
#[test]
fn names() {
    let odd = Upcall {
        comm: b"a\nb\x1b\xff\"\xc3\xa9",
        datapath: b"",
        kind: 1,
        result: -105,
        ..upcall()
    };
    let line = event(&odd, None);
    assert_eq!(line["comm"], "a\nb\x1b\u{fffd}\"\u{e9}");
    assert_eq!(line["datapath"], Value::Null);
    assert_eq!(line["port"], Value::Null);
    assert_eq!(line["type_name"], "action");
    assert_eq!(line["result_name"], "ENOBUFS");

    let in_port = attribute(flow_key::OVS_KEY_ATTR_IN_PORT, &7u32.to_ne_bytes());
    let numbered = Upcall {
        key: captured(&in_port),
        kind: 9,
        result: -4000,
        ..upcall()
    };
    let line = event(&numbered, None);
    assert_eq!(line["port"], json!({"number": 7, "name": null}));
    assert_eq!(line.get("type_name"), None);
    assert_eq!(line.get("result_name"), None);
    let line = event(&numbered, Some("p\r1"));
    assert_eq!(line["port"], json!({"number": 7, "name": "p\r1"}));
}

/// Check that what of a key is not in its fields is listed, with where and why, and that the rest is in them.
#[test]
fn undecoded() {
    use flow_key::*;
    let mut bytes = attribute(OVS_KEY_ATTR_IN_PORT, &1u32.to_ne_bytes());
    bytes.extend(attribute(OVS_KEY_ATTR_IN_PORT, &2u32.to_ne_bytes()));
    bytes.extend(attribute(99, b"ab"));
    bytes.extend(attribute(OVS_KEY_ATTR_ETHERNET, b"abc"));
    let tunnel = [
        attribute(OVS_TUNNEL_KEY_ATTR_TTL, &[64]),
        attribute(40, &[]),
    ]
    .concat();
    bytes.extend(attribute(OVS_KEY_ATTR_TUNNEL, &tunnel));
    bytes.extend(&attribute(OVS_KEY_ATTR_IPV4, &[10; 12])[..9]);
    let key = key(&bytes);
    let at = |index: usize| key["undecoded"][index].clone();
    assert_eq!(
        key["fields"],
        json!({"in_port": 1, "tunnel": {"ttl": 64, "flags": []}})
    );
    let name = "OVS_KEY_ATTR_IN_PORT";
    let expected = json!({"at": 8, "why": "repeated", "type": 3, "type_name": name, "length": 4, "captured": 4});
    let mut repeated = at(0);
    repeated.as_object_mut().unwrap().remove("bytes");
    assert_eq!(repeated, expected);
    let expected = json!({"at": 16, "why": "unknown", "type": 99, "length": 2, "captured": 2, "bytes": "YWI="});
    assert_eq!(at(1), expected);
    let name = "OVS_KEY_ATTR_ETHERNET";
    let expected = json!({
        "at": 24, "why": "length", "type": 4, "type_name": name, "length": 3, "captured": 3, "bytes": "YWJj"
    });
    assert_eq!(at(2), expected);
    let expected = json!({"at": 44, "why": "unknown", "within": "tunnel", "type": 40, "length": 0, "captured": 0});
    assert_eq!(at(3), expected);
    let name = "OVS_KEY_ATTR_IPV4";
    let expected = json!({
        "at": 48, "why": "cut", "type": 7, "type_name": name, "length": 12, "captured": 5, "bytes": "CgoKCgo="
    });
    assert_eq!(at(4), expected);
    assert_eq!(key["undecoded"].as_array().unwrap().len(), 5);
}

/// Check that a run of attributes which ends in nonsense says so.
#[test]
fn ends() {
    let key_of = |tail: &[u8]| {
        let head = attribute(flow_key::OVS_KEY_ATTR_RECIRC_ID, &[0; 4]);
        key(&[&head, tail].concat())
    };
    let end = key_of(&[1, 2, 3]);
    assert_eq!(
        end["undecoded"],
        json!([{"at": 8, "why": "header", "captured": 3}])
    );
    let end = key_of(&[3, 0, 0, 0]);
    let nla_len = u16::from_ne_bytes([3, 0]);
    assert_eq!(
        end["undecoded"],
        json!([{"at": 8, "why": "nla_len", "nla_len": nla_len}])
    );
    assert_eq!(key(b"").get("undecoded"), None);
}

/// Check that fields of a packet which come twice in a layer keep both values, that options have their values, and that
/// what stops the decoder is reported. The packet is made by hand: IPv4 with a timestamp option of two stamps, then TCP
/// with MSS, no operation and window scale, of which the last byte is not captured.
#[test]
fn layers() {
    let mut packet = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0".to_vec();
    packet.extend(b"\x48\0\0\x3c\0\0\0\0\x40\x06\0\0\x0a\x01\0\x01\x0a\x01\0\x02");
    packet.extend(b"\x44\x0c\x0d\0\0\0\0\x07\0\0\0\x08");
    packet.extend(
        b"\x12\x34\0\x50\0\0\0\x01\0\0\0\0\x70\x02\x10\0\0\0\0\0\x02\x04\x05\xb4\x01\x03\x03",
    );
    let ethernet = attribute(4, &[2; 12]);
    let upcall = Upcall {
        packet: Captured {
            len: packet.len() as u32 + 1,
            bytes: &packet,
            error: None,
        },
        key: captured(&ethernet),
        ..upcall()
    };
    let line = event(&upcall, None);
    let layers = &line["packet"]["layers"];
    assert_eq!(layers[0]["dst"], "02:00:00:00:00:02");
    assert_eq!(
        (&layers[0]["type"], &layers[0]["type_name"]),
        (&json!(2048), &json!("IPv4"))
    );
    assert_eq!(layers[1]["src"], "10.1.0.1");
    let option = &layers[1]["options"][0];
    assert_eq!(
        (&option["timestamp"], &option["timestamp_2"]),
        (&json!(7), &json!(8))
    );
    assert_eq!(
        (&layers[2]["flags"], &layers[2]["flags_names"]),
        (&json!(2), &json!(["S"]))
    );
    assert_eq!(
        layers[2]["options"],
        json!([{"kind": 2, "kind_name": "MSS", "numbers": [1460]}, {"kind": 1, "kind_name": "NOP"}])
    );
    assert_eq!(layers[3], json!({"layer": "Raw", "load": "AwM="}));
    let stopped = json!([{"why": "cut", "layer": "TCP", "captured": 73, "length": 74}]);
    assert_eq!(line["packet"]["stopped"], stopped);
}

/// The packet of a line, decoded.
#[track_caller]
fn packet(bytes: &[u8], len: usize) -> Value {
    let packet = Captured {
        len: len as u32,
        bytes,
        error: None,
    };
    let ethernet = attribute(4, &[2; 12]);
    let upcall = Upcall {
        packet,
        key: captured(&ethernet),
        ..upcall()
    };
    event(&upcall, None)["packet"].take()
}

/// Check that every packet of the fixtures has a line as the schema has it, and that the line and the text say as often
/// that not all was decoded.
#[test]
fn packets() {
    let vectors = vectors()
        .iter()
        .map(|it| (&it.name, &it.bytes, it.original_len));
    let kinds = kinds()
        .iter()
        .map(|it| (&it.name, &it.bytes, it.bytes.len()));
    for (name, bytes, len) in vectors.chain(kinds) {
        let mut text = Vec::new();
        show(bytes, len, Link::Ethernet, &mut text, 0).unwrap();
        let text = String::from_utf8(text).unwrap();
        let said = text.lines().filter(|line| line.starts_with('['));
        let packet = packet(bytes, len);
        let stopped = packet.get("stopped").and_then(Value::as_array);
        assert_eq!(stopped.map_or(0, Vec::len), said.count(), "{name}");
    }
}

/// Check what is said of packets that are not decoded to their end.
#[test]
fn stops() {
    let stopped = |name: &str| {
        let kind = kinds().iter().find(|kind| kind.name == name).expect(name);
        packet(&kind.bytes, kind.bytes.len())["stopped"].take()
    };
    assert_eq!(
        stopped("other: ospf"),
        json!([{"why": "undecoded", "layer": "IP", "field": "proto", "value": 89, "value_name": "ospf"}])
    );
    assert_eq!(
        stopped("link: experimental ethertype"),
        json!([{"why": "undecoded", "layer": "Ethernet", "field": "type", "value": 0x88b5}])
    );
    assert_eq!(
        stopped("security: esp"),
        json!([{"why": "encrypted", "layer": "ESP"}])
    );
    assert_eq!(
        stopped("plain: ip later fragment"),
        json!([{"why": "fragment", "layer": "IP"}])
    );
    assert_eq!(stopped("plain: udp"), Value::Null);
}

/// Check that a packet has what it begins with, is decoded from there, and not at all if that is not known. The packet is
/// made by hand: IPv6 without a payload.
#[test]
fn link() {
    let packet = [&b"\x60\0\0\0\0\0\x3b\x40"[..], &[0xfe; 32]].concat();
    let line = |key: &[u8]| {
        let upcall = Upcall {
            packet: captured(&packet),
            key: captured(key),
            ..upcall()
        };
        event(&upcall, None)["packet"].take()
    };
    let in_port = attribute(3, &4u32.to_ne_bytes());
    let ipv6 = attribute(6, &[0x86, 0xdd]);
    let network = line(&[&in_port[..], &ipv6].concat());
    assert_eq!(
        (&network["link"], &network["eth_type"]),
        (&json!("network"), &json!(0x86dd))
    );
    assert_eq!(network["layers"][0]["layer"], "IPv6");
    assert_eq!(network.get("stopped"), None);
    let ethernet = line(&[&in_port[..], &attribute(4, &[2; 12]), &ipv6].concat());
    assert_eq!(ethernet["link"], "ethernet");
    assert_eq!(ethernet.get("eth_type"), None);
    assert_eq!(ethernet["layers"][0]["layer"], "Ethernet");
    for cut in [&[][..], &in_port, &[&in_port[..], &ipv6[..5]].concat()] {
        let unknown = line(cut);
        assert_eq!(unknown["link"], "unknown");
        assert_eq!(unknown["stopped"], json!([{"why": "unknown_link"}]));
        assert_eq!(unknown["layers"].as_array().map(Vec::len), Some(1));
    }
}

/// What stands between commas that are in no brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(matches!(c, '(' | '{')) - i32::from(matches!(c, ')' | '}'));
        c == ',' && depth == 0
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether a value of the odp text is that of a JSON field.
fn same(name: &str, text: &str, fields: &Map<String, Value>) -> bool {
    if name == "frag" {
        let name = fields.get("frag_name");
        return name.map_or(text == "<error>", |name| name == text);
    }
    let names = |names: &Value, set: u64| {
        let mut known: Vec<String> = names
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap().into())
            .collect();
        let unnamed: Vec<&str> = text.split('|').filter(|n| n.starts_with("0x")).collect();
        known.extend(unnamed.iter().map(|n| n.to_string()));
        let bits = unnamed
            .first()
            .map_or(0, |bits| number(bits).unwrap() as u64);
        (text == "0" && known.is_empty()) || (text == known.join("|") && set & bits == bits)
    };
    if let Some(flags) = fields.get(&format!("{name}_names")) {
        return names(flags, fields[name].as_u64().unwrap());
    }
    match fields.get(name) {
        None => false,
        Some(Value::Number(value)) => number(text) == value.as_u64().map(u128::from),
        // ::192.0.2.1 is an address of which the last 32 bits are written in two ways.
        Some(Value::String(value)) => {
            let address = |text: &str| text.parse::<std::net::Ipv6Addr>().ok();
            value == text
                || number(text).is_some_and(|text| number(value) == Some(text))
                || address(text).is_some_and(|text| address(value) == Some(text))
        }
        // keyN(...) is unknown, and listed.
        Some(Value::Object(inner)) => split(text)
            .iter()
            .all(|part| part.starts_with("key") || same_part(part, inner)),
        Some(Value::Array(items)) => match name {
            "flags" => names(&fields[name], 0),
            "mpls" => split(text).chunks(4).zip(items).all(|(entry, item)| {
                entry
                    .iter()
                    .all(|part| same_part(part, item.as_object().unwrap()))
            }),
            "geneve" => text.matches('{').count() == items.len(),
            _ => false,
        },
        _ => false,
    }
}

/// Whether `name=value` or `name(value)` is in the fields.
fn same_part(part: &str, fields: &Map<String, Value>) -> bool {
    match part.split_once(['=', '(']) {
        Some((name, value)) if part[name.len()..].starts_with('=') => same(name, value, fields),
        Some((name, value)) => same(name, value.strip_suffix(')').unwrap(), fields),
        None => false,
    }
}

/// Check that fields and text of a key say the same: each part of the text is in the fields, or it is listed.
#[track_caller]
fn check_key(key: &Value) {
    let odp = key["odp"].as_str().unwrap();
    if odp == "<empty>" {
        return;
    }
    let fields = key["fields"].as_object().unwrap();
    let undecoded = key["undecoded"].as_array().into_iter().flatten();
    let undecoded = undecoded
        .filter(|item| item.get("within").is_none())
        .count();
    let mut names = Vec::new();
    let mut missing = split(odp);
    missing.retain(|part| {
        let name = part.split('(').next();
        let repeated = names.contains(&name);
        names.push(name);
        repeated || !same_part(part, fields)
    });
    assert_eq!(missing.len(), undecoded, "{missing:?} are not in {key}");
    let known = fields
        .keys()
        .filter(|name| !name.ends_with("_names") && *name != "ipv6_exthdrs");
    assert_eq!(known.count() + missing.len(), split(odp).len(), "{key}");
}

/// Check that fields and text agree for keys of all kinds, whose text Open vSwitch printed, and for real ones.
#[test]
fn fields_are_the_text() {
    let file = include_str!("../fixtures/keys/whole.txt");
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for line in file.lines() {
        if line.starts_with('[') {
            keys.push(Vec::new());
        } else if let Some(hex) = line.strip_prefix("hex: ") {
            let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
            let bytes = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
            keys.last_mut().unwrap().extend(bytes);
        }
    }
    assert!(keys.len() > 30);
    for record in RECORDS.iter() {
        let key = Upcall::from_record(record).unwrap().key.bytes;
        keys.push(key.to_vec());
    }
    for bytes in keys {
        check_key(&key(&bytes));
    }
}

/// Check that --format json and a capture do not both go to standard output.
#[test]
fn one_output() {
    let output = replay(recording(), &["-w", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("'--format json' cannot be used with '--pcap -'"),
        "{stderr}"
    );
}

/// Check that a reader which goes away ends it with success.
#[test]
fn closed_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(UPCALL_MONITOR)
        .args(["--replay", RECORDING, "--format", "json", "-d", "decode"])
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
}

/// Runs of attributes of plausible types and any payloads.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(
            (0u16..20, proptest::collection::vec(any::<u8>(), 0..20)),
            0..5
        )
        .prop_map(|inner| inner
            .iter()
            .flat_map(|(kind, payload)| attribute(*kind, payload))
            .collect()),
    ];
    proptest::collection::vec((0u16..40, payload), 0..12).prop_map(|attributes| {
        attributes
            .iter()
            .flat_map(|(kind, payload)| attribute(*kind, payload))
            .collect()
    })
}

proptest! {
    /// Check that any bytes as key, packet and names make a line of the schema.
    #[test]
    fn arbitrary(
        key in prop_oneof![attributes(), proptest::collection::vec(any::<u8>(), 0..200)],
        packet in proptest::collection::vec(any::<u8>(), 0..200),
        comm in proptest::collection::vec(any::<u8>(), 0..16),
        port in any::<Option<String>>(),
        (time, kind, result, errno) in any::<(u64, u32, i32, Option<i32>)>(),
        longer in 0u32..100,
    ) {
        let unread = errno.is_some();
        let upcall = Upcall {
            time,
            kind,
            result,
            comm: &comm,
            datapath: &comm,
            key: captured(&key),
            packet: Captured {
                len: packet.len() as u32 + longer,
                bytes: if unread { &[] } else { &packet },
                error: errno,
            },
            ..upcall()
        };
        let line = event(&upcall, port.as_deref());
        prop_assert_eq!(line["time_ns"].as_u64(), Some(time));
    }

    /// Check the same for real keys and packets that are cut and of which one byte is another.
    #[test]
    fn mutated(
        number in any::<prop::sample::Index>(),
        (at, to) in any::<(prop::sample::Index, u8)>(),
        (key_cut, packet_cut) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let mut record = number.get(&RECORDS).clone();
        // Behind the header, bpf/upcall_monitor.h.
        let at = 112 + at.index(record.len() - 112);
        record[at] = to;
        let mut upcall = Upcall::from_record(&record).unwrap();
        let whole = event(&upcall, Some("p1"));
        upcall.key.bytes = &upcall.key.bytes[..key_cut.index(upcall.key.bytes.len() + 1)];
        upcall.packet.bytes = &upcall.packet.bytes[..packet_cut.index(upcall.packet.bytes.len() + 1)];
        let cut = event(&upcall, Some("p1"));
        prop_assert_eq!(&whole["key"]["length"], &cut["key"]["length"]);
        let stopped = cut["packet"].get("stopped").is_some();
        prop_assert!(stopped || cut["packet"]["captured"] == cut["packet"]["length"]);
    }
}
