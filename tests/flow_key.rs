//! The text of flow keys against Open vSwitch's own, and keys cut and damaged in every place.

use ovs_tracers::ovs::flow_key::{self, Attribute, Key, Stop, attributes};
use proptest::prelude::*;

use common::{attribute, port_name};

#[path = "common/vectors.rs"]
mod common;

const WHOLE: &str = include_str!("../fixtures/keys/whole.txt");
const MENDED: &str = include_str!("../fixtures/keys/mended.txt");
const CUT: &str = include_str!("../fixtures/keys/cut.txt");
const MASKED: &str = include_str!("../fixtures/keys/masked.txt");

/// One key of a file in `fixtures/keys`.
#[derive(Default)]
struct Vector {
    name: String,
    key: Vec<u8>,
    odp: String,
    nlraw: String,
}

fn vectors(file: &str) -> Vec<Vector> {
    let fields = ["made", "hex", "odp", "nlraw"];
    let vectors = common::vectors(file, &fields).into_iter();
    let vectors = vectors.map(|vector| Vector {
        key: vector.bytes("hex"),
        odp: vector.text("odp").unwrap_or_default().to_owned(),
        nlraw: vector
            .lines("nlraw")
            .map(|line| {
                line.strip_suffix('|')
                    .expect("a line of nlraw ends in a bar")
                    .to_owned()
                    + "\n"
            })
            .collect(),
        name: vector.name,
    });
    vectors.collect()
}

fn vector(file: &str, name: &str) -> Vector {
    vectors(file)
        .into_iter()
        .find(|vector| vector.name == name)
        .expect("no vector of this name")
}

fn odp(key: &[u8]) -> String {
    let mut text = String::new();
    flow_key::odp(key, &mut text).expect("a String takes everything");
    text
}

fn nlraw(key: &[u8]) -> String {
    let mut text = String::new();
    flow_key::nlraw(key, &mut text).expect("a String takes everything");
    text
}

/// A key and its mask as `ovs-dpctl dump-flows` shows them.
fn odp_masked(key: &[u8], mask: Option<&[u8]>, verbose: bool, names: bool) -> String {
    let key = attribute(1, key);
    let mask = mask.map(|mask| attribute(7, mask));
    let key = attributes(&key).next().expect("a key");
    let mask = mask.as_ref().and_then(|mask| attributes(mask).next());
    masked_text(&key, mask.as_ref(), verbose, names)
}

fn masked_text(
    key: &Attribute<'_>,
    mask: Option<&Attribute<'_>>,
    verbose: bool,
    names: bool,
) -> String {
    let mut text = String::new();
    let name = |port| port_name(port).filter(|_| names);
    flow_key::odp_masked(key, mask, verbose, name, &mut text).expect("a String takes everything");
    text
}

#[track_caller]
fn check_vectors(file: &str, count: usize) {
    let vectors = vectors(file);
    assert_eq!(vectors.len(), count, "a vector is lost or not counted");
    for vector in vectors {
        assert_eq!(odp(&vector.key), vector.odp, "{}", vector.name);
        if !vector.nlraw.is_empty() {
            assert_eq!(nlraw(&vector.key), vector.nlraw, "{}", vector.name);
        }
    }
}

/// Check that a whole key gets the text that Open vSwitch gives it, and every attribute its line.
#[test]
fn whole_keys_read_as_open_vswitch_prints_them() {
    check_vectors(WHOLE, 43);
}

/// Check that a key with its mask gets the text that `ovs-dpctl dump-flows` gives it, without and with `-m`, and with
/// the names of ports.
#[test]
fn masked_keys_read_as_open_vswitch_prints_them() {
    let vectors = common::vectors(MASKED, &["made", "hex", "mask", "odp", "verbose", "names"]);
    assert_eq!(vectors.len(), 97, "a vector is lost or not counted");
    let mut wrong = String::new();
    for vector in vectors {
        let (key, mask) = (vector.bytes("hex"), vector.bytes("mask"));
        let odp = vector.text("odp").expect("a text");
        let verbose = vector.text("verbose").unwrap_or(odp);
        let names = vector.text("names").unwrap_or(verbose);
        for (expected, is_verbose, has_names) in [
            (odp, false, false),
            (verbose, true, false),
            (names, true, true),
        ] {
            let text = odp_masked(&key, Some(&mask), is_verbose, has_names);
            if text != expected {
                wrong += &format!("{}\n  {text}\n  {expected}\n", vector.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Check that what depends on the missing bytes of a mask is marked, and that a mask of a wrong length is shown.
#[test]
fn cut_masks_say_what_they_lack() {
    let key = [
        attribute(3, &2u32.to_ne_bytes()),
        attribute(16, &[attribute(4, &[64]), attribute(3, &[8])].concat()),
        attribute(6, &[8, 0]),
        attribute(9, &[0, 80, 1, 187]),
    ]
    .concat();
    let mask = [
        attribute(3, &[0xff; 4]),
        attribute(16, &[attribute(4, &[0xff]), attribute(3, &[0xfc])].concat()),
        attribute(6, &[0xff, 0xff]),
        attribute(9, &[0xff, 0xff, 0, 0]),
    ]
    .concat();
    let (key, mask) = (attribute(1, &key), attribute(7, &mask));
    let key = attributes(&key).next().expect("a key");
    let text = |end: usize| {
        let mask = attributes(&mask[..end]).next().expect("a mask");
        masked_text(&key, Some(&mask), false, false)
    };
    let whole = "in_port(2),tunnel(ttl=64,tos=0x8/0xfc),eth_type(0x0800),tcp(src=80)";
    assert_eq!(text(mask.len()), whole);
    assert_eq!(
        text(mask.len() - 1),
        "in_port(2),tunnel(ttl=64,tos=0x8/0xfc),eth_type(0x0800),tcp(src=80,dst=443)/<mask cut>,\
         <mask cut at byte 0: 43 of 44 bytes>"
    );
    // Between two attributes.
    assert_eq!(
        text(mask.len() - 8),
        "in_port(2),tunnel(ttl=64,tos=0x8/0xfc),eth_type(0x0800),tcp(src=80,dst=443)/<mask cut>,\
         <mask cut at byte 0: 36 of 44 bytes>"
    );
    // In the tunnel: its flags are not known, either.
    assert_eq!(
        text(4 + 8 + 4 + 8),
        "in_port(2),tunnel(ttl=64,tos=0x8/<mask cut>),eth_type(0x0800)/<mask cut>,\
         tcp(src=80,dst=443)/<mask cut>,<mask cut at byte 0: 20 of 44 bytes>"
    );
    assert_eq!(
        text(4),
        "in_port(2)/<mask cut>,tunnel(ttl=64,tos=0x8,flags(0))/<mask cut>,eth_type(0x0800)/<mask cut>,\
         tcp(src=80,dst=443)/<mask cut>,<mask cut at byte 0: 0 of 44 bytes>"
    );

    let short = attribute(
        7,
        &[attribute(3, &[0xff; 4]), attribute(9, &[0xff; 2])].concat(),
    );
    let short = attributes(&short).next().expect("a mask");
    assert_eq!(
        masked_text(&key, Some(&short), false, false),
        "in_port(2),tunnel(),tcp(src=80,dst=443)/(bad mask length 2, expected 4)(ff ff)"
    );
}

/// Check that a key that is cut says so behind its mask's text too, and that no key is `<empty>`.
#[test]
fn cut_masked_keys_say_where_they_stop() {
    let bytes = attribute(
        1,
        &[attribute(3, &[2, 0, 0, 0]), attribute(6, &[8, 0])].concat(),
    );
    let key = |end: usize| attributes(&bytes[..end]).next().expect("a key");
    let text = |end| masked_text(&key(end), None, true, true);
    assert_eq!(text(20), "in_port(br0),eth_type(0x0800)");
    assert_eq!(text(12), "in_port(br0),<cut at byte 0: 8 of 16 bytes>");
    assert_eq!(text(4), "<cut at byte 0: 0 of 16 bytes>");
    assert_eq!(odp_masked(&[], Some(&[]), true, true), "<empty>");
    // Without a mask, and with an empty one, every bit matters; connection states are a number.
    let ct = attribute(22, &0x21u32.to_ne_bytes());
    assert_eq!(odp_masked(&ct, None, true, false), "ct_state(0x21)");
    assert_eq!(
        odp_masked(&ct, Some(&[]), false, false),
        "ct_state(new|trk)"
    );
}

/// Check that the extension headers of an IPv6 packet are found, in a VLAN too, and not elsewhere.
#[test]
fn ipv6_extension_headers() {
    let exthdrs = attribute(32, &0x10u16.to_ne_bytes());
    let plain = [attribute(3, &[1, 0, 0, 0]), exthdrs.clone()].concat();
    assert_eq!(flow_key::beside_odp(&plain).ipv6_exthdrs, Some(0x10));
    assert_eq!(odp(&plain), "in_port(1)");
    let vlan = [attribute(3, &[1, 0, 0, 0]), attribute(1, &exthdrs)].concat();
    assert_eq!(flow_key::beside_odp(&vlan).ipv6_exthdrs, Some(0x10));
    assert_eq!(odp(&vlan), "in_port(1),encap()");
    assert_eq!(
        flow_key::beside_odp(&attribute(3, &[1, 0, 0, 0])).ipv6_exthdrs,
        None
    );
    // Cut, it is not guessed at.
    assert_eq!(
        flow_key::beside_odp(&plain[..plain.len() - 3]).ipv6_exthdrs,
        None
    );
    assert_eq!(
        odp(&plain[..plain.len() - 3]),
        "in_port(1),key32(<cut at byte 8: 1 of 2 bytes: 10>)"
    );
}

/// Check that the first field which ofproto/trace does not take is named, in a VLAN too, and none where it takes all.
#[test]
fn not_for_trace() {
    let said = |key: &[u8]| {
        flow_key::beside_odp(key)
            .not_for_trace
            .map(|what| what.to_string())
    };
    let (port, nsh, new) = (
        attribute(3, &[1, 0, 0, 0]),
        attribute(28, &[]),
        attribute(40, &[7]),
    );
    assert_eq!(said(&port), None);
    let ends = [port.clone(), nsh.clone(), new.clone()].concat();
    assert_eq!(said(&ends).as_deref(), Some("nsh(...)"));
    let vlan = [attribute(1, &[new, nsh].concat()), port].concat();
    assert_eq!(said(&vlan).as_deref(), Some("key40(...)"));
    assert_eq!(said(&ends[..6]).as_deref(), Some("what is cut"));
    let mut refused = 0;
    for vector in vectors(WHOLE) {
        let text = odp(&vector.key);
        let named = said(&vector.key);
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        let mut words = text.split(['(', ',']);
        let unknown = words.any(|word| word.strip_prefix("key").is_some_and(is_number));
        let expected = unknown || ["nsh(", "unspec("].iter().any(|field| text.contains(field));
        assert_eq!(
            named.is_some(),
            expected,
            "{}: {named:?}: {text}",
            vector.name
        );
        refused += usize::from(expected);
    }
    assert!(refused > 0);
}

/// Check that the texts which differ from Open vSwitch's are those that the documentation lists.
#[test]
fn mended_keys_read_as_documented() {
    check_vectors(MENDED, 9);
}

/// Check that a cut or damaged key is shown as far as it goes, and then where and why it stops.
#[test]
fn cut_keys_say_where_they_stop() {
    check_vectors(CUT, 18);
}

/// Check that cutting a key anywhere leaves the text of the attributes before the cut as it was,
/// and marks the cut with the offset of the attribute that it is in.
#[test]
fn a_prefix_of_a_key_reads_as_a_prefix_of_its_text() {
    for vector in vectors(WHOLE) {
        for end in 1..vector.key.len() {
            let prefix = &vector.key[..end];
            let text = odp(prefix);
            let start = attributes(&vector.key)
                .take_while(|a| a.at < end)
                .last()
                .expect("one")
                .at;
            let context = format!("{} cut at {end}: {text}", vector.name);
            // The attribute that is not shown adds no comma.
            let left_out = flow_key::beside_odp(&prefix[start..])
                .ipv6_exthdrs
                .is_some();
            if start > 0 {
                let comma = if left_out { "" } else { "," };
                assert!(
                    text.starts_with(&(odp(&vector.key[..start]) + comma)),
                    "{context}"
                );
            }
            let mut walk = attributes(prefix);
            let last = walk.by_ref().last();
            match walk.stopped() {
                None => assert!(vector.odp.starts_with(&text), "{context}"),
                Some(Stop::Header { at, left }) => {
                    assert_eq!((at, left), (start, end - start), "{context}");
                    let marker = format!("<cut at byte {start}: {left} of 4 header bytes>");
                    assert!(text.ends_with(&marker), "{context}");
                }
                Some(Stop::Cut { at, left, .. }) => {
                    assert_eq!((at, left), (start, end - start), "{context}");
                    let last = last.expect("a cut attribute is yielded, too");
                    assert_eq!(last.payload, &prefix[start + 4..], "{context}");
                    let of = format!("{} of {} bytes", left - 4, last.payload_len());
                    let marker = format!("<cut at byte {start}: {of}");
                    assert!(text.contains(&marker) && text.ends_with(">)"), "{context}");
                }
                Some(Stop::Short { .. }) => panic!("{context}"),
            }
        }
    }
}

/// Check that the walk yields lengths and types as written, without flags, and offsets from the
/// start of the key inside nested attributes, too.
#[test]
fn attributes_are_yielded_as_written() {
    let mut key = attribute(flow_key::OVS_KEY_ATTR_CT_ZONE, &[1, 2]);
    let nested = [attribute(9, &[]), attribute(0x4000 | 10, &[0x17, 0xc1])].concat();
    key.extend(attribute(0x8000 | flow_key::OVS_KEY_ATTR_TUNNEL, &nested));
    key.extend([12, 0, 4, 0, 0xaa]);

    let mut walk = attributes(&key);
    let zone = walk.next().expect("the zone");
    assert_eq!(
        (zone.at, zone.len, zone.kind, zone.payload),
        (0, 6, 23, &[1, 2][..])
    );
    let tunnel = walk.next().expect("the tunnel");
    assert_eq!((tunnel.at, tunnel.len, tunnel.kind), (8, 16, 16));
    let inner: Vec<_> = tunnel
        .nested()
        .map(|a| (a.at, a.len, a.kind, a.payload))
        .collect();
    assert_eq!(inner, [(12, 4, 9, &[][..]), (16, 6, 10, &[0x17, 0xc1][..])]);
    let eth = walk.next().expect("the cut attribute");
    assert_eq!(
        (eth.at, eth.len, eth.payload, eth.is_complete()),
        (24, 12, &[0xaa][..], false)
    );
    assert!(matches!(eth.key(), Key::Cut));
    assert_eq!(walk.next(), None);
    assert_eq!(
        walk.stopped(),
        Some(Stop::Cut {
            at: 24,
            len: 12,
            left: 5
        })
    );
    assert_eq!(walk.next(), None);
}

/// Check that each reason to stop has its own error, and that the end of a key has none.
#[test]
fn the_walk_says_why_it_stopped() {
    let stop = |key: &[u8]| {
        let mut walk = attributes(key);
        let count = walk.by_ref().count();
        (count, walk.stopped())
    };
    assert_eq!(stop(&[]), (0, None));
    assert_eq!(stop(&[4, 0, 1, 0]), (1, None));
    assert_eq!(stop(&[5, 0, 1, 0, 9]), (1, None), "padding may lack");
    assert_eq!(stop(&[5, 0, 1, 0, 9, 0]), (1, None), "padding may be cut");
    assert_eq!(
        stop(&[4, 0, 1, 0, 4, 0, 1]),
        (1, Some(Stop::Header { at: 4, left: 3 }))
    );
    assert_eq!(
        stop(&[3, 0, 1, 0]),
        (0, Some(Stop::Short { at: 0, len: 3 }))
    );
    assert_eq!(
        stop(&[5, 0, 1, 0]),
        (
            1,
            Some(Stop::Cut {
                at: 0,
                len: 5,
                left: 4
            })
        )
    );
}

/// Check that the port is found behind a tunnel's attributes, and neither in an encapsulated key,
/// nor in an attribute that is cut or has a wrong length.
#[test]
fn in_port_needs_the_whole_attribute() {
    let key = vector(WHOLE, "geneve tunnel, as the kernel writes it").key;
    assert_eq!(flow_key::in_port(&key), Some(9));
    let end = 3 * 8 + 84 + 8;
    assert_eq!(flow_key::in_port(&key[..end]), Some(9));
    assert_eq!(flow_key::in_port(&key[..end - 1]), None);

    let port = attribute(flow_key::OVS_KEY_ATTR_IN_PORT, &7u32.to_ne_bytes());
    assert_eq!(
        flow_key::in_port(&attribute(flow_key::OVS_KEY_ATTR_ENCAP, &port)),
        None
    );
    assert_eq!(
        flow_key::in_port(&attribute(flow_key::OVS_KEY_ATTR_IN_PORT, &[7, 0])),
        None
    );
    assert_eq!(flow_key::in_port(&[]), None);
}

/// Check that the types around the numbers that Open vSwitch's userspace took have their own names.
#[test]
fn types_have_the_names_of_the_kernel() {
    assert_eq!(flow_key::name(0), Some("OVS_KEY_ATTR_UNSPEC"));
    assert_eq!(flow_key::name(28), Some("OVS_KEY_ATTR_NSH"));
    assert_eq!(flow_key::name(29), Some("OVS_KEY_ATTR_PACKET_TYPE"));
    assert_eq!(flow_key::name(30), Some("OVS_KEY_ATTR_ND_EXTENSIONS"));
    assert_eq!(flow_key::name(31), Some("OVS_KEY_ATTR_TUNNEL_INFO"));
    assert_eq!(flow_key::name(32), Some("OVS_KEY_ATTR_IPV6_EXTHDRS"));
    assert_eq!(flow_key::name(33), None);
    assert_eq!(flow_key::name(u16::MAX), None);
}

/// Check that a key that nests as deep as `nla_len` allows, 16383 levels, is shown to the ninth
/// level and does not exhaust the stack.
#[test]
fn nesting_is_bounded() {
    let lengths = (1..=u16::MAX / 4).rev().map(|words| words * 4);
    let key: Vec<u8> = lengths
        .flat_map(|len| [len.to_ne_bytes(), 1u16.to_ne_bytes()].concat())
        .collect();
    let text = odp(&key);
    assert_eq!(text.matches("encap(").count(), 9);
    assert!(
        text.contains("encap(<nested too deep: d8 ff 01 00 d4 ff"),
        "{}",
        &text[..200]
    );
}

/// Check that an error of the writer ends the text, wherever it comes, and is passed on.
#[test]
fn errors_of_the_writer_are_passed_on() {
    struct Room(usize);
    impl std::fmt::Write for Room {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    for vector in vectors(WHOLE).into_iter().chain(vectors(CUT)) {
        for room in 0..vector.odp.len() {
            assert!(
                flow_key::odp(&vector.key, &mut Room(room)).is_err(),
                "{}",
                vector.name
            );
        }
        assert!(flow_key::odp(&vector.key, &mut Room(vector.odp.len())).is_ok());
        for room in 0..nlraw(&vector.key).len() {
            assert!(
                flow_key::nlraw(&vector.key, &mut Room(room)).is_err(),
                "{}",
                vector.name
            );
        }
    }
}

/// Walks and prints a key. Whatever its bytes are, no printer may panic, and each shows what the
/// walk found.
fn check_any_key(key: &[u8]) {
    let mut walk = attributes(key);
    let mut count = 0;
    for attribute in walk.by_ref() {
        assert!(attribute.payload.len() <= attribute.payload_len());
        assert_eq!(
            attribute.payload,
            &key[attribute.at + 4..][..attribute.payload.len()]
        );
        count += 1;
    }
    let warned = usize::from(walk.stopped().is_some());
    assert_eq!(nlraw(key).lines().count(), count + warned);
    let text = odp(key);
    assert!(!text.is_empty() && text.is_ascii());
    assert_eq!(
        text.matches('(').count(),
        text.matches(')').count(),
        "{text}"
    );
    flow_key::in_port(key);
}

/// Check that no flipped byte of a vector makes a printer panic or lose its brackets.
#[test]
fn flipped_bytes_do_no_harm() {
    for vector in [WHOLE, MENDED, CUT].into_iter().flat_map(vectors) {
        let mut key = vector.key;
        for index in 0..key.len() {
            let byte = key[index];
            for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                key[index] = byte ^ flip;
                check_any_key(&key);
            }
            key[index] = byte;
        }
    }
}

proptest! {
    /// Check that arbitrary bytes are walked and printed without panicking.
    #[test]
    fn arbitrary_bytes_do_no_harm(key in prop::collection::vec(any::<u8>(), 0..300)) {
        check_any_key(&key);
    }

    /// Check the same for runs of well-formed attributes of every type with arbitrary payloads,
    /// alone and inside each nested attribute, cut anywhere.
    #[test]
    fn arbitrary_attributes_do_no_harm(
        run in prop::collection::vec((0u16..40, prop::collection::vec(any::<u8>(), 0..44)), 0..8),
        outer in prop::sample::select(&[0u16, 1, 16, 28][..]),
        cut in 0usize..400,
    ) {
        let mut key: Vec<u8> = run.iter().flat_map(|(kind, data)| attribute(*kind, data)).collect();
        if outer != 0 {
            key = attribute(outer, &key);
        }
        key.truncate(cut);
        check_any_key(&key);
    }

    /// Check the same for keys with a mask, of which one or both are cut anywhere.
    #[test]
    fn arbitrary_masks_do_no_harm(
        run in prop::collection::vec((0u16..34, prop::collection::vec(any::<u8>(), 0..44)), 0..8),
        outer in prop::sample::select(&[0u16, 1, 16, 28][..]),
        mask_bytes in prop::collection::vec(prop::sample::select(&[0u8, 0xff, 0xf0][..]), 0..400),
        cuts in (4usize..400, 4usize..400),
        verbose in any::<bool>(),
    ) {
        let mut bits = mask_bytes.iter().copied().chain(std::iter::repeat(0xff));
        let mut key: Vec<u8> = run.iter().flat_map(|(kind, data)| attribute(*kind, data)).collect();
        let masked = run.iter().map(|(kind, data)| {
            let mask: Vec<u8> = data.iter().map(|_| bits.next().unwrap_or_default()).collect();
            attribute(*kind, &mask)
        });
        let mut mask = masked.collect::<Vec<_>>().concat();
        if outer != 0 {
            (key, mask) = (attribute(outer, &key), attribute(outer, &mask));
        }
        let (mut key, mut mask) = (attribute(1, &key), attribute(7, &mask));
        key.truncate(cuts.0);
        mask.truncate(cuts.1);
        let key = attributes(&key).next().expect("its header is there");
        let mask = attributes(&mask).next();
        let text = masked_text(&key, mask.as_ref(), verbose, true);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(text.matches('(').count(), text.matches(')').count(), "{}", text);
    }
}
