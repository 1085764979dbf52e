//! Packets decoded and shown, against reviewed text and against what is known of them.

use std::fs;
use std::io;
use std::path::Path;

use ovs_tracers::ovs::packet::{Link, MAX_LAYERS, Stop, show};

#[path = "common/packet_log.rs"]
mod packet_log;
#[path = "common/packets.rs"]
mod packets;

use packet_log::{all, log, says_why, text};
use packets::{Vector, kinds, vectors};

/// Writes how the packets are shown into the fixtures.
fn update() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let file = fs::read_to_string(&path).unwrap();
        let mut sections = file.split("\n== ");
        let mut written = sections.next().unwrap().to_owned();
        for section in sections {
            let (head, _) = section.split_once("\n--\n").unwrap();
            let name = head.lines().next().unwrap();
            let vector = vectors().iter().find(|vector| vector.name == name).unwrap();
            let text = text(&vector.bytes, vector.original_len);
            written += &format!("\n== {head}\n--\n{text}");
        }
        written += "\n";
        fs::write(path, written).unwrap();
    }
}

/// Check that every packet of the fixtures is shown as its reviewed text has it. With UPDATE=1 the text is written
/// anew.
#[test]
fn shows_the_fixtures() {
    if std::env::var_os("UPDATE").is_some() {
        return update();
    }
    let vectors = vectors();
    assert!(vectors.len() > 100, "only {} packets found", vectors.len());
    for Vector {
        name,
        bytes,
        original_len,
        text: expected,
    } in vectors
    {
        let shown = text(bytes, *original_len);
        assert_eq!(
            &shown, expected,
            "{name} is shown as\n{shown}\ninstead of\n{expected}"
        );
    }
}

/// Layers which have another name than the whole packet's if they are cut before what tells them apart, and that one.
const NAMED_LATE: [(&str, &str); 4] = [
    ("Ethernet", "802.3"),
    (
        "IPv6 Option Header Routing",
        "IPv6 Option Header Segment Routing",
    ),
    (
        "MLD - Multicast Listener Query",
        "MLDv2 - Multicast Listener Query",
    ),
    ("IGMP", "IGMPv3"),
];

/// Check that each beginning of a packet has the same fields as the whole, up to the cut, and that
/// the cut is reported; and that a cut alone is no other reason to stop.
#[test]
fn cut_packets_keep_their_fields() {
    for (name, bytes, _) in all() {
        let whole = log(bytes, bytes.len());
        for len in 0..bytes.len() {
            let found = log(&bytes[..len], bytes.len());
            assert!(
                found.fields.len() <= whole.fields.len(),
                "{name} cut to {len}"
            );
            for (found, whole) in found.fields.iter().zip(&whole.fields) {
                assert_eq!(
                    (found.1, &found.2),
                    (whole.1, &whole.2),
                    "{name} cut to {len}"
                );
                assert!(
                    found.0 == whole.0 || NAMED_LATE.contains(&(found.0, whole.0)),
                    "{name} cut to {len}: {} is {}",
                    whole.0,
                    found.0
                );
            }
            let Some(Stop::Cut {
                captured, original, ..
            }) = found.stops.last()
            else {
                panic!("{name} cut to {len}: {:?}", found.stops);
            };
            assert_eq!((*captured, *original), (len, bytes.len()));
            let others = found.stops.len() - 1;
            assert!(
                others <= whole.stops.len(),
                "{name} cut to {len}: {:?}",
                found.stops
            );
            let text = text(&bytes[..len], bytes.len());
            let end = format!(": {len} of {} bytes captured]\n", bytes.len());
            assert!(text.ends_with(&end), "{name} cut to {len}:\n{text}");
        }
    }
}

/// Check that there are no bytes without a reason for it which are neither a field nor data.
#[test]
fn says_what_it_does_not_decode() {
    for (name, bytes, original_len) in all() {
        let log = log(bytes, original_len);
        assert!(says_why(&log), "{name}: {:?}", log.around_raw);
    }
}

/// Check that what is not decoded is said with its field, its number and its name, as text; and that what is forbidden
/// is not said of what is not known.
#[test]
fn says_which_field_is_not_decoded() {
    let stopped = |name: &str| {
        let kind = kinds().iter().find(|kind| kind.name == name);
        let text = text(&kind.expect(name).bytes, kind.expect(name).bytes.len());
        text.lines().last().unwrap().to_owned()
    };
    for (name, expected) in [
        (
            "other: ospf",
            "[stopped in IP: what follows proto = 89 (ospf) is not decoded]",
        ),
        (
            "other: mobility header",
            "[stopped in IPv6: what follows nh = 135 is not decoded]",
        ),
        (
            "link: eapol",
            "[stopped in Ethernet: what follows type = 0x888e (EAPOL) is not decoded]",
        ),
        (
            "gre: unknown version",
            "[stopped in GRE: what follows version = 3 is not decoded]",
        ),
        (
            "mpls: unknown",
            "[stopped in MPLS: what follows label = 100 is not decoded]",
        ),
        ("security: esp", "[stopped in ESP: the rest is encrypted]"),
        (
            "security: macsec encrypted",
            "[stopped in 802.1AE: the rest is encrypted]",
        ),
        (
            "plain: ip later fragment",
            "[stopped in IP: a later fragment, its header is in the first]",
        ),
    ] {
        assert_eq!(stopped(name), expected, "{name}");
    }
}

/// Check that the indentation stands before each line and changes nothing else.
#[test]
fn indents_every_line() {
    for Vector {
        name,
        bytes,
        original_len,
        text,
    } in vectors()
    {
        let mut out = Vec::new();
        show(bytes, *original_len, Link::Ethernet, &mut out, 4).unwrap();
        let expected: String = text.lines().map(|line| format!("    {line}\n")).collect();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{name}");
    }
}

/// Check that neither a stack of labels, nor of tags, nor of tunnels, nor of options is followed
/// beyond the limit.
#[test]
fn nesting_is_bounded() {
    let ethernet = |ether_type: [u8; 2]| [[0; 12].as_slice(), &ether_type].concat();
    let stack = |start: Vec<u8>, item: &[u8]| [start, item.repeat(2000)].concat();
    let vxlan = [
        &ethernet([8, 0])[..],
        // A length of 0, so that all the rest follows; the same for UDP.
        &[
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ],
        &[0, 1, 0x12, 0xb5, 0, 0, 0, 0],
        &[8, 0, 0, 0, 0, 0, 1, 0],
    ];
    let solicitation = [
        &ethernet([0x86, 0xdd])[..],
        &[0x60, 0, 0, 0, 0, 0, 58, 255],
        &[0; 32],
        &[135, 0, 0, 0, 0, 0, 0, 0],
        &[0; 16],
    ];
    for packet in [
        stack(ethernet([0x88, 0x47]), &[0, 1, 0, 64]),
        stack(ethernet([0x81, 0]), &[0, 1, 0x81, 0]),
        stack(Vec::new(), &vxlan.concat()),
        stack(solicitation.concat(), &[14, 1, 1, 2, 3, 4, 5, 6]),
    ] {
        let log = log(&packet, packet.len());
        assert_eq!(log.stops, [Stop::TooDeep]);
        assert_eq!(
            log.layers,
            MAX_LAYERS + 1,
            "the layers, and one which has the rest"
        );
        let text = text(&packet, packet.len());
        assert!(text.ends_with("[stopped: more than 32 nested layers]\n"));
    }
}

/// Check that the first error of the writer is returned, and that nothing is written after it.
#[test]
fn returns_the_error_of_the_writer() {
    /// Takes so many bytes.
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(self.0 != usize::MAX, "written after an error");
            match self.0.checked_sub(bytes.len()) {
                Some(left) => self.0 = left,
                None => {
                    self.0 = usize::MAX;
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for Vector {
        bytes,
        original_len,
        text,
        ..
    } in vectors()
    {
        let show = |room| show(bytes, *original_len, Link::Ethernet, &mut Full(room), 0);
        show(text.len()).unwrap();
        for room in 0..text.len() {
            let error = show(room).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
