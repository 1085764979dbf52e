//! Live upcalls of packets without an Ethernet header: upcall-monitor with both of its sources.
//!
//! These tests need root. Without it each is listed as ignored: this is why they have a harness of their own.

mod common;
#[path = "common/schema.rs"]
mod schema;

use std::process::{Command, ExitCode};

use common::{Monitor, Output, StandIn, UPCALL_MONITOR, is_installed, is_root, path, run, trial};
use libtest_mimic::Arguments;
use ovs_tracers::trace::kernel::has_kernel_btf;
use schema::Schema;
use serde_json::Value;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One after another: they count on an idle machine.
    args.test_threads.get_or_insert(1);
    let needs = [("root", is_root()), ("BTF", has_kernel_btf())];
    let tshark = [needs[0], needs[1], ("tshark", is_installed("tshark"))];
    let trials = vec![
        trial("shown", shown, &needs),
        trial("captured", captured, &tshark),
        trial("filtered", filtered, &needs),
        trial("unknown", unknown, &needs),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

/// How many events each test fires: as many of each of the eight kinds of fixtures/standin/standin.c.
const EVENTS: u64 = 808;

/// Those arguments of the tool that choose a source.
const SOURCES: [&[&str]; 2] = [
    &["--source", "usdt"],
    &["--source", "kernel", "--netlink", "2:27"],
];

/// Traces a stand-in of whose packets three of eight have no Ethernet header.
#[track_caller]
fn trace(args: &[&str]) -> Output {
    let count = EVENTS.to_string();
    let standin = [
        "--netlink",
        "--no-ethernet",
        "--rate",
        "20000",
        "--count",
        &count,
    ];
    let target = StandIn::start("standin", &standin);
    let monitor = Monitor::attach(target.pid, args);
    assert_eq!(target.run(), EVENTS);
    let output = monitor.output();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.figure("lost"), 0, "{}", output.stderr);
    output
}

/// The upcalls of --format json, each of which must be one of the schema.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let mut lines = Schema::of("upcall-monitor").stream(text);
    lines.retain(|line| line["record"] == "event");
    lines
}

/// The kind of an upcall, in the order of the table in fixtures/standin/standin.c.
fn kind(event: &Value) -> usize {
    let mark = event["key"]["fields"]["skb_mark"].as_u64();
    (mark.expect("a number") % 8) as usize
}

/// Check that both sources show of each packet what it begins with, decode it from there, and count it by its protocol
/// in the summary.
fn shown() {
    const LAYERS: [(&str, &str, u64); 8] = [
        ("ethernet", "Ethernet ARP", 42),
        ("network", "IP TCP", 40),
        ("ethernet", "Ethernet IP UDP Raw", 73),
        ("ethernet", "Ethernet IP ICMP Raw", 98),
        (
            "network",
            "IPv6 ICMPv6 Neighbor Discovery - Neighbor Solicitation \
             ICMPv6 Neighbor Discovery Option - Source Link-Layer Address",
            72,
        ),
        ("ethernet", "Ethernet 802.1Q IP TCP Raw", 158),
        ("network", "IP UDP Raw", 478),
        ("ethernet", "Ethernet IP UDP Raw", 9014),
    ];
    for source in SOURCES {
        let output = trace(&[source, &["--format", "json", "-d", "decode"]].concat());
        let events = events(&output.stdout);
        assert_eq!(events.len() as u64, EVENTS);
        for event in events {
            let kind = kind(&event);
            let (link, expected, length) = LAYERS[kind];
            let packet = &event["packet"];
            let layers = packet["layers"].as_array().expect("layers");
            let names: Vec<_> = layers
                .iter()
                .map(|layer| layer["layer"].as_str().expect("a name"))
                .collect();
            assert_eq!(names.join(" "), expected);
            assert_eq!(packet["link"], link);
            assert_eq!(packet["length"], length);
            let eth_type = match (link, kind) {
                ("ethernet", _) => Value::Null,
                (_, 4) => 0x86dd.into(),
                _ => 0x0800.into(),
            };
            assert_eq!(packet["eth_type"], eth_type);
        }
        let output = trace(&[source, &["-q"]].concat());
        for source in [
            "2 tcp 192.0.2.1 > 192.0.2.2",
            "1 icmp6 fe80::ff:fe00:1 > ff02::1:ff00:2",
            "5 udp 192.0.2.1 > 192.0.2.2",
        ] {
            let mut lines = output.stdout.lines();
            let line = lines.find(|line| line.ends_with(source));
            let count = line.and_then(|line| line.split_whitespace().next());
            assert_eq!(count, Some("101"), "{source}: {}", output.stdout);
        }
    }
}

/// Check that tshark reads addresses on the interfaces of both link types.
fn captured() {
    for source in SOURCES {
        let folder = tempfile::tempdir().unwrap();
        let file = path(&folder, "out.pcapng");
        trace(&[source, &["--pcap", &file]].concat());
        let count = |filter: &str| {
            let text = run("tshark", &["-n", "-r", &file, "-Y", filter]);
            text.lines().count() as u64
        };
        let each = EVENTS / 8;
        assert_eq!(
            count("frame.interface_name contains \"raw IP\" && ip.src == 192.0.2.1"),
            2 * each
        );
        assert_eq!(
            count("frame.interface_name contains \"raw IP\" && icmpv6.type == 135"),
            each
        );
        assert_eq!(count("eth && ip.src == 192.0.2.1"), 4 * each);
        assert_eq!(count("tcp.dstport == 443"), 2 * each);
        assert_eq!(count("_ws.malformed"), 0);
    }
}

/// Check that packet filters let the same packets through in the kernel, with both sources, and from a recording of
/// all; and that what looks at Ethernet addresses lets none without them through.
fn filtered() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "out.rec");
    trace(&["--record", &file]);
    let each = EVENTS / 8;
    for (filter, passes) in [
        ("host 192.0.2.1 and not arp", 5),
        ("tcp port 443", 1),
        ("udp", 3),
        ("icmp6 and ip6[40] = 135", 1),
        ("ip and less 54", 1),
        ("ip[2:2] = 40", 1),
        ("ether proto 0x86dd", 1),
        ("not ip", 3),
        ("not ether host 0a:00:00:00:00:07", 5),
        ("udp and ether[0] & 1 = 0", 2),
        ("vlan and tcp", 1),
        ("greater 0", 8),
        // Too far for the kernel.
        ("udp and ether[200] < 256", 2),
    ] {
        let in_user_space = filter.contains("[200]");
        let replayed = Command::new(UPCALL_MONITOR)
            .args(["--replay", &file, "--format", "json", filter])
            .output()
            .expect("it starts");
        let replayed = events(&String::from_utf8(replayed.stdout).expect("UTF-8"));
        assert_eq!(replayed.len() as u64, passes * each, "{filter}");
        let mut expected: Vec<usize> = replayed.iter().map(kind).collect();
        expected.sort_unstable();
        for source in SOURCES {
            let output = trace(&[source, &["--format", "json", filter]].concat());
            assert_eq!(
                output.stderr.contains("in user space"),
                in_user_space,
                "{}",
                output.stderr
            );
            assert!(
                !output.stderr.contains("may have matched"),
                "{}",
                output.stderr
            );
            let mut kinds: Vec<usize> = events(&output.stdout).iter().map(kind).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, expected, "{source:?}: {filter}");
        }
    }
}

/// Check that where a key is cut before it says what its packet begins with, or cannot be read, nothing is guessed: it is
/// not decoded, and no filter that looks at it lets it through. Where a key that was read says it, the rest does not
/// matter. In the kernel a filter has the whole key.
fn unknown() {
    for source in SOURCES {
        // Of the tunnel's key there is less.
        let output = trace(&[source, &["--format", "json", "-d", "decode", "-f", "88"]].concat());
        let links = |link: &str| {
            let events = events(&output.stdout);
            events
                .iter()
                .filter(|event| event["packet"]["link"] == link)
                .count() as u64
        };
        let each = EVENTS / 8;
        assert_eq!(
            (links("ethernet"), links("network"), links("unknown")),
            (5 * each, 0, 3 * each)
        );
        let filtered = trace(&[source, &["-f", "4", "tcp"]].concat());
        assert_eq!(filtered.figure("shown"), each);
        let filtered = trace(&[source, &["-f", "4", "tcp and ether[200] < 256 or tcp"]].concat());
        assert_eq!(filtered.figure("shown"), 0);
        assert_eq!(filtered.figure("of the filtered upcalls"), EVENTS);
    }
    // A key that cannot be read at all.
    let standin = [
        "--no-ethernet",
        "--rate",
        "20000",
        "--count",
        "808",
        "--bad-key",
        "2",
    ];
    let target = StandIn::start("standin", &standin);
    let monitor = Monitor::attach(target.pid, &["--source", "usdt", "udp or icmp"]);
    assert_eq!(target.run(), 808);
    let output = monitor.output();
    // Events 1, 3, 5 and 7 of eight have none, and of the others 2 and 6 are of UDP.
    assert_eq!(output.figure("shown"), 202, "{}", output.stderr);
    assert_eq!(
        output.figure("of the filtered upcalls"),
        404,
        "{}",
        output.stderr
    );
}
