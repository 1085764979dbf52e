//! Packet filters: against packets that are known, and against what tshark finds in the same recording.

#[path = "common/packets.rs"]
mod packets;

use std::path::Path;
use std::process::{Command, Output};

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
        let filter = Filter::new(expression).expect(expression);
        let names = vectors()
            .iter()
            .filter(|vector| filter.matches(&vector.bytes, vector.original_len as u32))
            .map(|vector| vector.name.as_str());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), chosen, "{expression}");
    }
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
