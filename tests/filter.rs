//! Packet filters: against packets that are known, and against what tshark finds in the same recording.

#[path = "common/packets.rs"]
mod packets;

use std::path::Path;
use std::process::{Command, Output};

use ovs_tracers::ovs::packet::Link;
use ovs_tracers::upcall::packet_filter::Filter;
use packets::vectors;

const UPCALL_MONITOR: &str = env!("CARGO_BIN_EXE_upcall-monitor");

fn replay(args: &[&str]) -> Output {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings/lab-6.12.rec");
    Command::new(UPCALL_MONITOR)
        .arg("--replay")
        .arg(recording)
        .args(args)
        .output()
        .expect("upcall-monitor starts")
}

/// Check that filters choose those packets which are what they name.
#[test]
fn choose() {
    for (expression, chosen) in [
        (
            "arp",
            "arp-infiniband arp-is-at-padded arp-odd arp-who-has cut-in-arp",
        ),
        ("rarp", "arp-rarp"),
        (
            "vlan",
            "cut-in-vlan lldp-addresses macsec-encrypted qinq qinq-8100 vlan vlan-llc vxlan-vlan-ip6",
        ),
        ("vlan and vlan", "qinq qinq-8100 vxlan-vlan-ip6"),
        (
            "mpls",
            "mpls mpls-channel mpls-control-word mpls-ethernet mpls-ip6 mpls-pw mpls-unknown",
        ),
        (
            "sctp",
            "sctp sctp-abort sctp-bundle sctp-chunk-length sctp-sack sctp-unknown-chunk",
        ),
        ("icmp[icmptype] = icmp-echo", "icmp-echo-request"),
        (
            "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
            "cut-in-tcp-header cut-in-tcp-options tcp-ao-tfo tcp-dataofs-lies tcp-dataofs-small tcp-syn",
        ),
        (
            "ether multicast and not ip6 and not igmp",
            "arp-rarp cfm-continuity cfm-link-trace eapol eth-unknown-type lacp link-oam link-oam-event llc-netbios \
             llc-test llc-xid lldp lldp-addresses lldp-short-tlv lldp-tlvs marker mstp pppoe-padi rstp slow-ossp \
             snap-code stp-llc stp-pvst stp-topology-change stp-unknown",
        ),
    ] {
        let mut filter = Filter::new(expression).expect(expression);
        let names = vectors()
            .iter()
            .filter(|vector| {
                let len = vector.original_len as u32;
                filter.matches(Link::Ethernet, &vector.bytes, len)
            })
            .map(|vector| vector.name.as_str());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), chosen, "{expression}");
    }
}

/// Check that filters see packets without an Ethernet header: those of the vectors that have one, without it. What looks
/// at Ethernet addresses lets none through, nor does anything if the link type is not known, unless it looks at no byte.
#[test]
fn without_ethernet() {
    for (expression, looks_at_addresses) in [
        ("ip or ip6", false),
        ("udp port 4789", false),
        ("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", false),
        ("icmp6 and ip6[40] = 135", false),
        ("not ip", false),
        ("arp", false),
        ("mpls", false),
        ("ether proto 0x88cc", false),
        ("greater 0", false),
        ("ether host 02:00:00:00:00:01", true),
        ("not ether host 02:00:00:00:00:01", true),
        ("udp and not ether multicast", true),
        ("ether[0] & 1 = 0", true),
    ] {
        let mut filter = Filter::new(expression).expect(expression);
        let mut matched = 0;
        for vector in vectors() {
            let (bytes, len) = (&vector.bytes, vector.original_len as u32);
            let Some((header, rest)) = bytes.split_at_checked(14) else {
                continue;
            };
            // A frame of 802.3 has no EtherType.
            let ether_type = u16::from_be_bytes([header[12], header[13]]);
            if ether_type < 0x600 {
                continue;
            }
            let link = Link::Network(ether_type);
            let whole = filter.matches(Link::Ethernet, bytes, len);
            let expected = whole && !looks_at_addresses;
            matched += u32::from(expected);
            let said = format!("{expression}: {}", vector.name);
            assert_eq!(filter.matches(link, rest, len - 14), expected, "{said}");
            let unknown = filter.matches(Link::Unknown, rest, len - 14);
            assert_eq!(unknown, expression == "greater 0", "{said}");
            assert_eq!(
                filter.is_sure(Link::Unknown, rest.len(), len - 14),
                expression == "greater 0"
            );
            // Cut before what the filter looks at.
            let cut = filter.matches(link, &rest[..0], len - 14);
            assert!(!cut || expected, "{said}");
            let sure = filter.is_sure(link, 0, len - 14);
            assert!(!sure || cut == expected, "{said}");
        }
        assert_eq!(matched == 0, looks_at_addresses, "{expression}");
    }
    // A length is that of the packet, not of a frame.
    let mut filter = Filter::new("less 33").expect("an expression");
    assert!(filter.matches(Link::Network(0x0800), &[0x45; 33], 33));
    assert!(!filter.matches(Link::Network(0x0800), &[0x45; 34], 34));
}

/// The frames of a file that a display filter of tshark chooses.
fn tshark(file: &Path, display_filter: &str) -> Vec<String> {
    let output = Command::new("tshark")
        .args(["-n", "-T", "fields", "-e", "frame.time_epoch", "-r"])
        .arg(file)
        .args(["-Y", display_filter])
        .output()
        .expect("tshark is installed");
    assert!(output.status.success(), "{display_filter}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_string).collect()
}

fn summary(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains(" in all: "));
    line.unwrap_or_default().to_string()
}

/// Check that of a recording those packets are shown and written which tshark finds by their bytes, and that the others
/// are counted as filtered.
#[test]
fn as_tshark() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = folder.path().join("whole.pcapng");
    let output = replay(&["--pcap", whole.to_str().expect("UTF-8")]);
    assert!(output.status.success());
    let all = tshark(&whole, "frame");
    assert!(all.len() > 100);

    for (expression, display_filter) in [
        ("arp", "frame[12:2] == 08:06"),
        ("not arp", "!(frame[12:2] == 08:06)"),
        ("ip proto 6", "frame[12:2] == 08:00 && frame[23] == 06"),
        ("ip6 and udp", "frame[12:2] == 86:dd && frame[20] == 11"),
        ("vlan", "frame[12:2] == 81:00 || frame[12:2] == 88:a8"),
        ("greater 100", "frame.len >= 100"),
        (
            "(icmp or icmp6) and less 90",
            "frame.len <= 90 && ((frame[12:2] == 08:00 && frame[23] == 01) || (frame[12:2] == 86:dd && frame[20] == 3a))",
        ),
        ("ether[0] & 1 = 1", "eth.dst.ig == 1"),
    ] {
        let file = folder.path().join("some.pcapng");
        // In words, as they are typed.
        let mut args = vec!["--force", "--pcap", file.to_str().expect("UTF-8")];
        args.extend(expression.split(' '));
        let output = replay(&args);
        assert!(output.status.success(), "{expression}");
        let expected = tshark(&whole, display_filter);
        assert!(!expected.is_empty(), "{display_filter}");
        assert_eq!(tshark(&file, "frame"), expected, "{expression}");
        let rows = String::from_utf8_lossy(&output.stdout);
        let rows = rows
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(rows.count(), expected.len(), "{expression}");
        assert_eq!(
            summary(&output),
            format!(
                "{} upcalls in all: {} shown, {} filtered, 0 lost by upcall-monitor",
                all.len(),
                expected.len(),
                all.len() - expected.len()
            )
        );
    }
}

/// Check that JSON has the upcalls that pass and the count of the others, and that --count counts those that pass.
#[test]
fn json_and_count() {
    let output = replay(&["--format", "json", "--count", "5", "vlan"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let Some((summary, events)) = lines.split_last() else {
        panic!("no lines");
    };
    let (_, events) = events.split_first().expect("a start");
    assert_eq!(events.len(), 5);
    for event in events {
        let key = event["key"]["odp"].as_str().expect("text");
        assert!(key.contains("vlan("), "{key}");
    }
    assert_eq!(summary["shown"], 5);
    let filtered = summary["filtered"].as_u64().expect("a number");
    assert!(filtered > 0);
    assert_eq!(summary["received"], 5);
    assert_eq!(summary["fired"].as_u64(), Some(5 + filtered));
}

/// Check that a filter comes before all else that can fail, and is an error with status 2.
#[test]
fn bad_expression() {
    let output = Command::new(UPCALL_MONITOR)
        .args(["--replay", "no-such-file", "udp", "prt", "53"])
        .output()
        .expect("upcall-monitor starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("error: invalid packet filter: "),
        "{text}"
    );
    assert_eq!(lines[1..3], ["    udp prt 53", "        ^^^"], "{text}");
}
