//! What packets begin with, as their flow keys say, and what is decoded of them then.

use ovs_tracers::ovs::flow_key::{Attribute, attributes};
use ovs_tracers::ovs::packet::{Link, show};
use ovs_tracers::trace::captured::Captured;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::text::{PacketDecode, Table};
use proptest::prelude::*;

#[path = "common/vectors.rs"]
#[allow(dead_code, reason = "port names are other tests'")]
mod keys;
#[path = "common/packets.rs"]
mod packets;

use keys::attribute;

fn text(packet: &[u8], original_len: usize, link: Link) -> String {
    let mut out = Vec::new();
    show(packet, original_len, link, &mut out, 0).unwrap();
    String::from_utf8(out).unwrap()
}

/// An upcall of a port without Ethernet, put together by hand: IPv4, UDP from port 1000 to 2000; and the key that the
/// kernel sends with it, on a little-endian host: in_port 4, EtherType, IPv4, UDP.
const UPCALL: &str = "
[udp]
packet: 4500002100010000401166c90a0000010a00000203e807d0000d9c4768656c6c6f
key: 08000300040000000600060008000000100007000a0000010a0000021100400008000a0003e807d0
";

/// Check that the packet of such an upcall is decoded from IP on.
#[test]
fn without_ethernet() {
    if cfg!(target_endian = "big") {
        return;
    }
    let upcall = &keys::vectors(UPCALL, &["packet", "key"])[0];
    let (packet, key) = (upcall.bytes("packet"), upcall.bytes("key"));
    let link = Link::of_key(&key);
    assert_eq!(link, Link::Network(0x0800));
    let text = text(&packet, packet.len(), link);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "###[ IP ]###");
    for line in [
        "src       = 10.0.0.1",
        "dst       = 10.0.0.2",
        "sport     = 1000",
        "dport     = 2000",
        "load      = b'hello'",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    assert!(
        !text.contains("Ethernet") && !text.contains("\n["),
        "{text}"
    );
}

/// Check that the table says it of such a packet, in whatever form it is shown, and of no other.
#[test]
fn announced() {
    for (key, said) in [
        (attribute(6, &[0x89, 0x4f]), true),
        (attribute(4, &[2; 12]), false),
        (attribute(3, &[4, 0, 0, 0]), false),
    ] {
        for decode in [PacketDecode::Hex, PacketDecode::Decode] {
            let captured = |bytes| Captured {
                len: 12,
                bytes,
                error: None,
            };
            let upcall = Upcall {
                packet: captured(&[7; 12]),
                key: captured(&key),
                ..Upcall::default()
            };
            let mut out = Vec::new();
            let mut table = Table::new(&mut out, decode, false, false).unwrap();
            table.upcall(&upcall, upcall.link(), "gre0", "").unwrap();
            let text = String::from_utf8(out).unwrap();
            let line = "    It has no Ethernet header; its EtherType is 0x894f.\n";
            assert_eq!(text.contains(line), said, "{text}");
        }
    }
}

/// Check what a key says, and what one says that is cut or damaged before it could.
#[test]
fn of_keys() {
    let in_port = attribute(3, &4u32.to_ne_bytes());
    // The tunnel's attributes have numbers that mean something else outside: 4 and 6 are Ethernet and EtherType there.
    let nested = [attribute(4, &[64]), attribute(6, &[0x08, 0x00])].concat();
    let tunnel = attribute(16, &nested);
    let ethernet = attribute(4, &[2; 12]);
    let ipv6 = attribute(6, &[0x86, 0xdd]);
    let vlan = [
        attribute(6, &[0x81, 0]),
        attribute(5, &[0x10, 1]),
        attribute(1, &ipv6),
    ]
    .concat();
    let packet_type = |ns: u8, kind: u16| attribute(29, &[[0, ns], kind.to_be_bytes()].concat());
    for (parts, link) in [
        (&[&in_port, &ethernet, &ipv6][..], Link::Ethernet),
        (&[&in_port, &ipv6], Link::Network(0x86dd)),
        (&[&tunnel, &in_port, &ipv6], Link::Network(0x86dd)),
        (&[&tunnel, &in_port, &ethernet, &ipv6], Link::Ethernet),
        (&[&ethernet, &vlan], Link::Ethernet),
        // 802.2 frames have no EtherType.
        (&[&in_port, &ethernet], Link::Ethernet),
        (&[&in_port, &tunnel], Link::Unknown),
        (&[&in_port], Link::Unknown),
        (&[], Link::Unknown),
        // In another order than the kernel's.
        (&[&ipv6, &ethernet], Link::Ethernet),
        // Of the userspace datapath.
        (&[&packet_type(0, 0), &ipv6], Link::Ethernet),
        (&[&packet_type(1, 0x8847), &in_port], Link::Network(0x8847)),
        (&[&packet_type(1, 0x894f), &ipv6], Link::Network(0x894f)),
        (&[&packet_type(2, 0), &ipv6], Link::Unknown),
        // An EtherType of the wrong length.
        (&[&attribute(6, &[0x86, 0xdd, 0])], Link::Unknown),
    ] {
        let key: Vec<u8> = parts.iter().copied().flatten().copied().collect();
        assert_eq!(Link::of_key(&key), link, "{key:02x?}");
    }
    // Cut in the header, behind it, and in the EtherType.
    let key = [&in_port[..], &ethernet, &ipv6].concat();
    for len in 0..key.len() {
        let known = if len < in_port.len() + 4 {
            Link::Unknown
        } else {
            Link::Ethernet
        };
        assert_eq!(Link::of_key(&key[..len]), known, "cut to {len}");
    }
    let key = [&in_port[..], &ipv6].concat();
    for len in 0..key.len() {
        let known = if len < in_port.len() + 6 {
            Link::Unknown
        } else {
            Link::Network(0x86dd)
        };
        assert_eq!(Link::of_key(&key[..len]), known, "cut to {len}");
    }
}

/// Check that of the keys of the fixtures those are of Ethernet in which Open vSwitch finds an `eth(`.
#[test]
fn of_real_keys() {
    let file = include_str!("../fixtures/keys/whole.txt");
    let vectors = keys::vectors(file, &["made", "hex", "odp", "nlraw"]);
    assert!(vectors.len() > 10);
    for vector in vectors {
        let odp = vector.text("odp").expect("text");
        if odp.contains("packet_type(") {
            continue;
        }
        let ethernet = Link::of_key(&vector.bytes("hex")) == Link::Ethernet;
        assert_eq!(ethernet, odp.contains("eth("), "{odp}");
    }
}

/// Check what the key of a packet says that is sent to the datapath: of an Ethernet frame it has no attribute that does.
#[test]
fn of_metadata() {
    let in_port = attribute(3, &4u32.to_ne_bytes());
    let mpls = attribute(6, &[0x88, 0x47]);
    let of = |parts: &[&Vec<u8>], left: usize| {
        let run: Vec<u8> = parts.iter().copied().flatten().copied().collect();
        let key = attribute(2, &run);
        let key: Attribute<'_> = attributes(&key[..4 + left.min(run.len())])
            .next()
            .expect("a key");
        Link::of_metadata(&key)
    };
    assert_eq!(of(&[&in_port], 100), Link::Ethernet);
    assert_eq!(of(&[], 100), Link::Ethernet);
    assert_eq!(of(&[&in_port, &mpls], 100), Link::Network(0x8847));
    // Damaged behind what is there, and cut between the two and in the first.
    assert_eq!(of(&[&in_port, &vec![2, 0, 0, 0]], 100), Link::Unknown);
    assert_eq!(of(&[&in_port, &mpls], 8), Link::Unknown);
    assert_eq!(of(&[&in_port, &mpls], 7), Link::Unknown);
    assert_eq!(of(&[&in_port, &attribute(6, &[0x88])], 100), Link::Unknown);
}

/// Check that each packet of the fixtures is decoded without its Ethernet header as with it, and that a packet of which
/// the link type is not known is bytes, with the reason.
#[test]
fn as_with_ethernet() {
    for vector in packets::vectors() {
        let (bytes, len) = (&vector.bytes, vector.original_len);
        if bytes.is_empty() {
            continue;
        }
        let unknown = text(bytes, len, Link::Unknown);
        let lines: Vec<&str> = unknown.lines().collect();
        assert_eq!(lines[0], "###[ Raw ]###");
        assert_eq!(
            lines[2],
            "[not decoded: it is not known whether the packet begins with an Ethernet header]"
        );
        assert_eq!(
            lines.len(),
            if len > bytes.len() { 4 } else { 3 },
            "{unknown}"
        );

        let Some((header, rest)) = bytes.split_at_checked(14) else {
            continue;
        };
        let ether_type = u16::from_be_bytes([header[12], header[13]]);
        if ether_type < 0x600 || rest.is_empty() || vector.text.contains("more than 32") {
            continue;
        }
        let without = text(rest, len - 14, Link::Network(ether_type));
        // Each layer is indented by three columns less, and a cut is counted from the beginning.
        let mut with = vector
            .text
            .lines()
            .skip(4)
            .map(|line| line.strip_prefix("   ").unwrap_or(line));
        for line in without.lines() {
            // A type that is not decoded is the packet's own.
            let expected = with.next().unwrap_or_default();
            let expected = &*expected.replace(
                "in Ethernet: what follows type",
                "in packet: what follows eth_type",
            );
            match line.starts_with("[cut") {
                true => assert_eq!(
                    line.split(':').next(),
                    expected.split(':').next(),
                    "{}",
                    vector.name
                ),
                false => assert_eq!(line, expected, "{}", vector.name),
            }
        }
        assert_eq!(with.next(), None, "{}", vector.name);
    }
    // What Linux numbers itself, and what is not known.
    for (ether_type, said) in [(0x0001, "0x1"), (0x05ff, "0x5ff"), (0x88b5, "0x88b5")] {
        let expected = format!(
            "###[ Raw ]###\n  load      = b'abc'\n\
             [stopped in packet: what follows eth_type = {said} is not decoded]\n"
        );
        assert_eq!(text(b"abc", 3, Link::Network(ether_type)), expected);
    }
    assert_eq!(
        text(b"", 33, Link::Network(0x0800)),
        "[cut in packet: 0 of 33 bytes captured]\n"
    );
    assert_eq!(
        text(b"", 33, Link::Unknown),
        "[cut in packet: 0 of 33 bytes captured]\n"
    );
}

proptest! {
    /// Check that nothing panics, whatever the key and the packet are.
    #[test]
    fn anything(
        key in prop::collection::vec(any::<u8>(), 0..64),
        packet in prop::collection::vec(any::<u8>(), 0..128),
        ether_type in prop_oneof![any::<u16>(), Just(0x0800), Just(0x86dd), Just(0x8847), Just(0x8100)],
        more in 0..100usize,
    ) {
        let len = packet.len() + more;
        text(&packet, len, Link::of_key(&key));
        text(&packet, len, Link::Network(ether_type));
    }
}
