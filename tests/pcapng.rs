//! The pcapng writer, read back by pcap-parser, capinfos and tshark.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};
use std::process::Command;
use std::sync::LazyLock;

use ovs_tracers::ovs::packet::Link;
use ovs_tracers::trace::captured::Captured;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::pcapng::{LOST, Section, Stats, Writer};
use pcap_parser::{Block, Linktype, OptionCode, PcapNGOption, parse_block_le};
use proptest::prelude::*;

/// 2023-11-14 22:13:20.123456789 UTC: the nanoseconds do not fit microseconds, the halves differ.
const TIME: u64 = 1_700_000_000_123_456_789;

const SECTION: Section<'_> = Section {
    hardware: "x86_64",
    os: "Linux 6.12.9",
    application: "upcall-monitor 0.1.0",
    comment: "a test",
};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to `System` unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a reader finds in a capture.
#[derive(Debug, Default, PartialEq)]
struct File {
    /// Hardware, operating system, application, comment.
    section: [Option<String>; 4],
    interfaces: Vec<Interface>,
    packets: Vec<Packet>,
    statistics: Vec<Statistics>,
    /// Bytes behind the last whole block.
    rest: usize,
}

#[derive(Debug, PartialEq)]
struct Interface {
    linktype: Linktype,
    name: String,
    description: Option<String>,
    snaplen: u32,
    tsresol: u8,
}

#[derive(Debug, PartialEq)]
struct Packet {
    interface: u32,
    time: u64,
    original: u32,
    data: Vec<u8>,
    comment: String,
    flags: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
struct Statistics {
    interface: u32,
    time: u64,
    start: u64,
    end: u64,
    received: u64,
    dropped: Option<u64>,
}

fn bytes(options: &[PcapNGOption<'_>], code: u16) -> Option<Vec<u8>> {
    let mut found = options
        .iter()
        .filter(|option| option.code == OptionCode(code));
    let first = found.next()?;
    assert!(found.next().is_none(), "option {code} twice");
    Some(first.value[..usize::from(first.len)].to_vec())
}

fn text(options: &[PcapNGOption<'_>], code: u16) -> Option<String> {
    bytes(options, code).map(|value| String::from_utf8(value).expect("not UTF-8"))
}

fn number(options: &[PcapNGOption<'_>], code: u16) -> Option<u64> {
    bytes(options, code).map(|value| u64::from_le_bytes(value.try_into().expect("not 64 bits")))
}

/// A time of an option: two 32-bit words, the high one first.
fn time(options: &[PcapNGOption<'_>], code: u16) -> u64 {
    number(options, code).expect("no time").rotate_left(32)
}

fn read(mut data: &[u8]) -> File {
    let mut file = File::default();
    while !data.is_empty() {
        let Ok((rest, block)) = parse_block_le(data) else {
            file.rest = data.len();
            break;
        };
        data = rest;
        match block {
            Block::SectionHeader(b) => {
                assert_eq!(
                    (b.major_version, b.minor_version, b.section_len),
                    (1, 0, -1)
                );
                file.section = [2, 3, 4, 1].map(|code| text(&b.options, code));
            }
            Block::InterfaceDescription(b) => {
                file.interfaces.push(Interface {
                    linktype: b.linktype,
                    name: text(&b.options, 2).expect("no name"),
                    description: text(&b.options, 3),
                    snaplen: b.snaplen,
                    tsresol: bytes(&b.options, 9).expect("no if_tsresol")[0],
                });
            }
            Block::EnhancedPacket(b) => {
                assert!(
                    (b.if_id as usize) < file.interfaces.len(),
                    "not yet described"
                );
                file.packets.push(Packet {
                    interface: b.if_id,
                    time: u64::from(b.ts_high) << 32 | u64::from(b.ts_low),
                    original: b.origlen,
                    data: b.data[..b.caplen as usize].to_vec(),
                    comment: text(&b.options, 1).expect("no comment"),
                    flags: bytes(&b.options, 2),
                });
            }
            Block::InterfaceStatistics(b) => {
                assert!(
                    (b.if_id as usize) < file.interfaces.len(),
                    "not yet described"
                );
                file.statistics.push(Statistics {
                    interface: b.if_id,
                    time: u64::from(b.ts_high) << 32 | u64::from(b.ts_low),
                    start: time(&b.options, 2),
                    end: time(&b.options, 3),
                    received: number(&b.options, 4).expect("no isb_ifrecv"),
                    dropped: number(&b.options, 5),
                });
            }
            other => panic!("unexpected block: {other:?}"),
        }
    }
    file
}

/// A netlink attribute with its padding.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A key with an `OVS_KEY_ATTR_ETHERNET`.
static ETHERNET: LazyLock<Vec<u8>> = LazyLock::new(|| attribute(4, &[2; 12]));

/// The key of a packet without an Ethernet header: an `OVS_KEY_ATTR_ETHERTYPE`.
fn network(ether_type: u16) -> Vec<u8> {
    attribute(6, &ether_type.to_be_bytes())
}

fn captured(bytes: &[u8]) -> Captured<'_> {
    Captured {
        len: bytes.len() as u32,
        bytes,
        error: None,
    }
}

fn upcall(packet: &[u8]) -> Upcall<'_> {
    Upcall {
        time: 5_953_013_333_214_231,
        cpu: 2,
        pid: 1_381_150,
        tid: 1_381_158,
        comm: b"handler4",
        datapath: b"system@ovs-system",
        packet: captured(packet),
        key: captured(&ETHERNET),
        ..Upcall::default()
    }
}

/// A broadcast ARP request and its padding, made by hand.
fn arp() -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([2, 0, 0, 0, 0, 1, 8, 6]);
    packet.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    packet.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    packet.resize(61, 0);
    packet
}

const COMMENT: &str = "cpu=2 comm=handler4 pid=1381158 upcall_type=0 result=0";
const END: u64 = TIME + 5_000_000_001;

/// Four upcalls on three ports, one of them unread, one without a packet.
fn sample(lost: u64) -> Vec<u8> {
    let arp = arp();
    let mut writer = Writer::new(Vec::new(), 60, &SECTION).unwrap();
    let key = "in_port(1),eth_type(0x0806)\n  truncated";
    writer
        .write(
            &upcall(&arp),
            Link::Ethernet,
            "eth0 (system@ovs-system)",
            TIME,
            Some(key),
        )
        .unwrap();
    let mut action = upcall(&arp);
    action.kind = 1;
    action.cpu = 0;
    action.result = -105;
    writer
        .write(
            &action,
            Link::Ethernet,
            "9 (system@ovs-system)",
            TIME + 1,
            None,
        )
        .unwrap();
    let mut unread = upcall(&[]);
    unread.packet = Captured {
        len: 1514,
        bytes: &[],
        error: Some(14),
    };
    writer
        .write(
            &unread,
            Link::Ethernet,
            "eth0 (system@ovs-system)",
            TIME + 2,
            None,
        )
        .unwrap();
    writer
        .write(
            &upcall(&[]),
            Link::Ethernet,
            "Unknown (system@ovs-system)",
            TIME + 3,
            None,
        )
        .unwrap();
    let stats = Stats {
        start: TIME - 1,
        end: END,
        lost,
    };
    writer.finish(&stats).unwrap()
}

/// Check that every field of every block comes out as it went in.
#[test]
fn every_field_is_read_back() {
    let packet = |interface, time, original, data: &[u8], comment: &str| Packet {
        interface,
        time,
        original,
        data: data.to_vec(),
        comment: comment.to_string(),
        flags: Some(vec![1, 0, 0, 0]),
    };
    let interface = |name: &str| Interface {
        linktype: Linktype::ETHERNET,
        name: name.to_string(),
        description: None,
        snaplen: 60,
        tsresol: 9,
    };
    let statistics = |interface, received| Statistics {
        interface,
        time: END,
        start: TIME - 1,
        end: END,
        received,
        dropped: Some(0),
    };
    let arp = arp();
    let expected = File {
        section: [
            SECTION.hardware,
            SECTION.os,
            SECTION.application,
            SECTION.comment,
        ]
        .map(|text| Some(text.to_string())),
        interfaces: vec![
            interface("eth0 (system@ovs-system)"),
            interface("9 (system@ovs-system)"),
            interface("Unknown (system@ovs-system)"),
        ],
        packets: vec![
            packet(
                0,
                TIME,
                61,
                &arp[..60],
                &format!("{COMMENT}\nin_port(1),eth_type(0x0806)\n  truncated"),
            ),
            packet(
                1,
                TIME + 1,
                61,
                &arp[..60],
                "cpu=0 comm=handler4 pid=1381158 upcall_type=1 result=-105",
            ),
            packet(
                0,
                TIME + 2,
                1514,
                &[],
                &format!("{COMMENT}\npacket unreadable: errno 14"),
            ),
            packet(2, TIME + 3, 0, &[], COMMENT),
        ],
        statistics: vec![statistics(0, 2), statistics(1, 1), statistics(2, 1)],
        rest: 0,
    };
    assert_eq!(read(&sample(0)), expected);
}

/// Check that lost upcalls are counted on an interface of their own, and that no port claims to
/// have lost none.
#[test]
fn lost_upcalls_have_their_own_interface() {
    let file = read(&sample(7));
    let names: Vec<_> = file.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names[3..], [LOST]);
    assert_eq!(
        file.interfaces[3].description.as_deref(),
        Some("7 upcalls lost by upcall-monitor: their ports are not known")
    );
    let counts: Vec<_> = file
        .statistics
        .iter()
        .map(|s| (s.interface, s.received, s.dropped))
        .collect();
    assert_eq!(
        counts,
        [(0, 2, None), (1, 1, None), (2, 1, None), (3, 7, Some(7))]
    );
}

/// Check that a capture of nothing still has an interface, which some readers need, and says that
/// nothing was lost.
#[test]
fn a_capture_of_nothing_has_an_interface() {
    let writer = Writer::new(Vec::new(), 0, &Section::default()).unwrap();
    let file = read(&writer.finish(&Stats::default()).unwrap());
    assert_eq!(file.section, [None, None, None, None]);
    assert_eq!(file.interfaces.len(), 1);
    assert_eq!(file.statistics[0].dropped, Some(0));
}

/// Check that a thread's name can neither break the comment's line nor its encoding, that the
/// escaping is unambiguous, and that the name of a device is escaped too.
#[test]
fn hostile_names_are_escaped() {
    let mut hostile = upcall(&[]);
    hostile.comm = b"a\nb\\x\xff\x1b\xc3\xa9\xc2\x85";
    let mut writer = Writer::new(Vec::new(), 0, &SECTION).unwrap();
    writer
        .write(&hostile, Link::Ethernet, "p\x1b[2J", TIME, None)
        .unwrap();
    let file = read(&writer.finish(&Stats::default()).unwrap());
    assert_eq!(file.interfaces[0].name, "p\\x1b[2J");
    assert_eq!(
        file.packets[0].comment,
        "cpu=2 comm=a\\x0ab\\\\x\\xff\\x1bé\\xc2\\x85 pid=1381158 upcall_type=0 result=0"
    );
}

/// Check that a text too long for an option is cut at a character, and that the packets behind it
/// are still found.
#[test]
fn a_long_text_is_cut() {
    let long = "é".repeat(40_000);
    let mut writer = Writer::new(Vec::new(), 0, &SECTION).unwrap();
    writer
        .write(&upcall(&arp()), Link::Ethernet, &long, TIME, Some(&long))
        .unwrap();
    writer
        .write(&upcall(&arp()), Link::Ethernet, "p", TIME, None)
        .unwrap();
    let file = read(&writer.finish(&Stats::default()).unwrap());
    let comment = &file.packets[0].comment;
    assert!(
        (65_530..=65_535).contains(&comment.len()),
        "{}",
        comment.len()
    );
    assert!(comment.ends_with("éé..."));
    assert!(file.interfaces[0].name.ends_with("éé..."));
    assert_eq!(file.packets[1].data, arp());
}

/// Takes so many bytes, then fails once, like a disk that is full until somebody makes room.
struct Disk {
    data: Vec<u8>,
    size: usize,
}

impl Write for &mut Disk {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.size - self.data.len());
        if n == 0 {
            self.size = usize::MAX;
            return Err(io::Error::from_raw_os_error(28));
        }
        self.data.extend(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Check that a disk that fills up at any byte is reported as such, leaves whole blocks and part of
/// at most one, and that nothing is written behind that.
#[test]
fn a_full_disk_leaves_whole_blocks() {
    let arp = arp();
    // Section header, interface, 13 packets, statistics.
    let capture = |disk: &mut Disk| -> io::Result<()> {
        let mut writer = Writer::new(disk, 0, &SECTION)?;
        for i in 0..13 {
            writer
                .write(
                    &upcall(&arp),
                    Link::Ethernet,
                    "eth0 (system@ovs-system)",
                    TIME + i,
                    None,
                )
                .inspect_err(|_| {
                    let again = writer.write(
                        &upcall(&arp),
                        Link::Ethernet,
                        "eth0 (system@ovs-system)",
                        0,
                        None,
                    );
                    assert!(again.is_err());
                })?;
        }
        writer.finish(&Stats::default())?;
        Ok(())
    };
    let mut disk = Disk {
        data: Vec::new(),
        size: usize::MAX,
    };
    capture(&mut disk).unwrap();
    let whole = disk.data;
    for size in 0..whole.len() {
        let mut disk = Disk {
            data: Vec::new(),
            size,
        };
        let error = capture(&mut disk).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.data, whole[..size]);
        let file = read(&disk.data);
        assert!(file.rest < 200, "more than one block is lost");
        for (i, packet) in file.packets.iter().enumerate() {
            assert_eq!((packet.time, &packet.data), (TIME + i as u64, &arp));
        }
    }
}

/// Check that each block reaches the output in one piece, so that a buffer before a file is flushed
/// between blocks.
#[test]
fn a_block_is_one_write() {
    struct Writes(Vec<Vec<u8>>);
    impl Write for Writes {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.push(buf.to_vec());
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = Writer::new(Writes(Vec::new()), 0, &SECTION).unwrap();
    for _ in 0..3 {
        writer
            .write(&upcall(&arp()), Link::Ethernet, "p", TIME, Some("key"))
            .unwrap();
    }
    let writes = writer.finish(&Stats::default()).unwrap().0;
    assert_eq!(writes.len(), 1 + 1 + 3 + 1);
    for block in writes {
        assert!(matches!(parse_block_le(&block), Ok(([], _))));
    }
}

/// Check that a packet costs no allocation once its ports are known: pcap-file wants a list of
/// options for each, whose memory must be used again.
#[test]
fn a_packet_costs_no_allocation() {
    let arp = arp();
    let mut writer = Writer::new(io::sink(), 0, &SECTION).unwrap();
    let mut write = |i: u64| {
        let port = ["eth0 (system@ovs-system)", "eth1 (system@ovs-system)"][i as usize % 2];
        writer
            .write(&upcall(&arp), Link::Ethernet, port, TIME + i, Some("key"))
            .unwrap();
    };
    (0..4).for_each(&mut write);
    let before = ALLOCATIONS.get();
    (4..100).for_each(&mut write);
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// What follows an Ethernet header, made by hand: IPv4, UDP from port 1000 to 2000, `hello`; and IPv6 without a payload.
const IPV4: &[u8] = b"\x45\0\0\x21\0\x01\0\0\x40\x11\x66\xc9\x0a\0\0\x01\x0a\0\0\x02\
                      \x03\xe8\x07\xd0\0\x0d\x9c\x47hello";
const IPV6: &[u8] = b"\x60\0\0\0\0\0\x3b\x40\
                      \xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
                      \xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02";

/// Packets of every link type, most of them from one port.
fn every_link_type(snaplen: u32) -> Vec<u8> {
    const P1: &str = "p1 (system@ovs-system)";
    const P2: &str = "p2 (system@ovs-system)";
    // Label 16, the last of the stack.
    let mpls = [b"\0\x01\x01\x40", IPV4].concat();
    // A service path, and IPv4 next (RFC 8300).
    let nsh = [b"\x0f\xc2\x02\x01\0\0\x2a\xff", IPV4].concat();
    let arp = arp();
    let mut writer = Writer::new(Vec::new(), snaplen, &SECTION).unwrap();
    let mut write = |packet: &[u8], key: &[u8], port: &str| {
        let mut upcall = upcall(packet);
        upcall.key = captured(key);
        writer
            .write(&upcall, upcall.link(), port, TIME, None)
            .unwrap();
    };
    write(IPV4, &network(0x0800), P1);
    write(&arp, &ETHERNET, P1);
    write(IPV6, &network(0x86dd), P1);
    write(&mpls, &network(0x8847), P1);
    write(IPV4, &network(0x0800), P2);
    write(&nsh, &network(0x894f), P1);
    // A key that is cut before it says what the packet begins with: in_port, and the beginning of a header.
    let cut = [attribute(3, &[1, 0, 0, 0]), vec![16, 0]].concat();
    write(IPV4, &cut, P1);
    write(IPV4, b"", P1);
    writer.finish(&Stats::default()).unwrap()
}

/// Check that a port has an interface for each link type of its packets, which says in words what it is, and statistics
/// of its own; and that the lengths of packets with a cooked header include that.
#[test]
fn interfaces_by_link_type() {
    let file = read(&every_link_type(40));
    let words = ["", ", raw IP", ", cooked", ", unknown link type"];
    let [raw, ethernet, cooked, raw_2, unknown] = [0, 1, 2, 3, 4];
    let expected = [
        (raw, Linktype::RAW, "p1", words[1], 40),
        (ethernet, Linktype::ETHERNET, "p1", words[0], 40),
        (cooked, Linktype::LINUX_SLL, "p1", words[2], 56),
        (raw_2, Linktype::RAW, "p2", words[1], 40),
        (unknown, Linktype(147), "p1", words[3], 40),
    ];
    assert_eq!(file.interfaces.len(), expected.len());
    for (id, linktype, port, words, snaplen) in expected {
        let interface = &file.interfaces[id];
        assert_eq!(interface.name, format!("{port} (system@ovs-system){words}"));
        assert_eq!((interface.linktype, interface.snaplen), (linktype, snaplen));
        assert_eq!(interface.description.is_none(), id == ethernet);
    }
    let interfaces = file.packets.iter().map(|packet| packet.interface as usize);
    let expected = [raw, ethernet, raw, cooked, raw_2, cooked, unknown, unknown];
    assert!(interfaces.eq(expected));
    let counts = file
        .statistics
        .iter()
        .map(|s| (s.interface, s.received, s.dropped));
    let received = [2, 1, 2, 1, 2]
        .iter()
        .zip(0..)
        .map(|(received, id)| (id, *received, Some(0)));
    assert!(counts.eq(received), "{:?}", file.statistics);
    let (raw, cooked) = (&file.packets[0], &file.packets[5]);
    assert_eq!((&raw.data[..], raw.original), (IPV4, 33));
    assert_eq!(
        cooked.data[..16],
        *b"\0\0\xff\xfe\0\0\0\0\0\0\0\0\0\0\x89\x4f"
    );
    assert_eq!((cooked.data.len(), cooked.original), (56, 16 + 8 + 33));
}

/// Check that tshark reads the addresses of packets of every known link type.
#[test]
fn tshark_reads_every_link_type() {
    let fields = [
        "frame.interface_name",
        "frame.protocols",
        "ip.src",
        "ipv6.dst",
        "udp.dstport",
        "nsh.spi",
        "mpls.label",
    ];
    let mut args = vec!["-T", "fields", "-E", "separator=|"];
    args.extend(fields.iter().flat_map(|field| ["-e", field]));
    args.push("-r");
    let Some(text) = wireshark("tshark", &every_link_type(0), &args) else {
        return;
    };
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "p1 (system@ovs-system), raw IP|raw:ip:udp:data|10.0.0.1||2000||",
            "p1 (system@ovs-system)|eth:ethertype:arp|||||",
            "p1 (system@ovs-system), raw IP|raw:ipv6||fe80::2|||",
            "p1 (system@ovs-system), cooked|sll:ethertype:mpls:ip:udp:data|10.0.0.1||2000||16",
            "p2 (system@ovs-system), raw IP|raw:ip:udp:data|10.0.0.1||2000||",
            "p1 (system@ovs-system), cooked|sll:ethertype:nsh:ip:udp:data|10.0.0.1||2000|42|",
            "p1 (system@ovs-system), unknown link type|user_dlt:data|||||",
            "p1 (system@ovs-system), unknown link type|user_dlt:data|||||",
        ]
    );
}

/// Check that a packet with a cooked header costs no allocation either.
#[test]
fn a_cooked_packet_costs_no_allocation() {
    let key = network(0x894f);
    let mut cooked = upcall(IPV4);
    cooked.key = captured(&key);
    let mut writer = Writer::new(io::sink(), 0, &SECTION).unwrap();
    let mut write = |i| {
        // In turn, so that the interface is looked up.
        let upcall = if i % 2 == 0 { &cooked } else { &upcall(IPV4) };
        writer
            .write(upcall, upcall.link(), "p", TIME + i, None)
            .unwrap();
    };
    (0..4).for_each(&mut write);
    let before = ALLOCATIONS.get();
    (4..100).for_each(&mut write);
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// Runs a program of Wireshark's on a capture; none if it is not installed.
fn wireshark(program: &str, capture: &[u8], args: &[&str]) -> Option<String> {
    let mut file = tempfile::Builder::new()
        .suffix(".pcapng")
        .tempfile()
        .unwrap();
    file.write_all(capture).unwrap();
    let command = Command::new(program)
        .env("LC_ALL", "C.UTF-8")
        .args(args)
        .arg(file.path())
        .output();
    match command {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {output:?}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped: {program} ({error})");
            None
        }
    }
}

/// Check that capinfos counts the packets by port, and shows the loss.
#[test]
fn capinfos_agrees() {
    let Some(text) = wireshark("capinfos", &sample(7), &["-M"]) else {
        return;
    };
    let value = |name: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.split_once([':', '=']));
        lines
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
            .collect()
    };
    assert_eq!(value("File encapsulation"), ["ether"]);
    assert_eq!(value("File timestamp precision"), ["nanoseconds (9)"]);
    assert_eq!(value("Data size"), [format!("{} bytes", 61 + 61 + 1514)]);
    assert_eq!(value("Capture duration"), ["0.000000003 seconds"]);
    assert_eq!(value("Capture hardware"), [SECTION.hardware]);
    assert_eq!(value("Capture oper-sys"), [SECTION.os]);
    assert_eq!(value("Capture application"), [SECTION.application]);
    assert_eq!(value("Capture comment"), [SECTION.comment]);
    assert_eq!(value("Number of interfaces in file"), ["4"]);
    assert_eq!(
        value("Name"),
        [
            "eth0 (system@ovs-system)",
            "9 (system@ovs-system)",
            "Unknown (system@ovs-system)",
            LOST
        ]
    );
    assert_eq!(
        value("Description"),
        ["7 upcalls lost by upcall-monitor: their ports are not known"]
    );
    assert_eq!(value("Capture length"), ["60"; 4]);
    assert_eq!(value("Time resolution"), ["0x09"; 4]);
    assert_eq!(value("Number of stat entries"), ["1"; 4]);
    // The first is the file's, then each interface's.
    assert_eq!(value("Number of packets"), ["4", "2", "1", "1", "0"]);
}

/// Check that tshark reads the packets' fields as they went in.
#[test]
fn tshark_agrees_on_packets() {
    let fields = "frame.time_epoch frame.cap_len frame.len frame.interface_name frame.comment \
                  frame.packet_flags_direction arp.dst.proto_ipv4";
    let mut args = vec!["-T", "fields", "-E", "separator=|"];
    args.extend(
        fields
            .split(' ')
            .filter(|field| !field.is_empty())
            .flat_map(|f| ["-e", f]),
    );
    args.push("-r");
    let Some(text) = wireshark("tshark", &sample(7), &args) else {
        return;
    };
    let expected = [
        format!(
            "1700000000.123456789|60|61|eth0 (system@ovs-system)|{COMMENT}\\n\
             in_port(1),eth_type(0x0806)\\n  truncated|0x00000001|10.0.0.2"
        ),
        "1700000000.123456790|60|61|9 (system@ovs-system)|cpu=0 comm=handler4 pid=1381158 \
         upcall_type=1 result=-105|0x00000001|10.0.0.2"
            .to_string(),
        format!(
            "1700000000.123456791|0|1514|eth0 (system@ovs-system)|{COMMENT}\\n\
             packet unreadable: errno 14|0x00000001|"
        ),
        format!("1700000000.123456792|0|0|Unknown (system@ovs-system)|{COMMENT}|0x00000001|"),
    ];
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines, expected);
}

/// Check that tshark, reading the file as a file, finds the same statistics: it shows them in no
/// other way.
#[test]
fn tshark_agrees_on_statistics() {
    for (lost, received, dropped) in [(0, "2,1,1", "0,0,0"), (7, "2,1,1,7", "7")] {
        let mut args = vec!["-X", "read_format:MIME Files Format", "-T", "fields"];
        args.extend(["-e", "pcapng.options.option.data.interface.received"]);
        args.extend(["-e", "pcapng.options.option.data.interface.dropped"]);
        args.push("-r");
        let Some(text) = wireshark("tshark", &sample(lost), &args) else {
            return;
        };
        assert_eq!(text.trim_end(), format!("{received}\t{dropped}"));
    }
}

proptest! {
    /// Check that whatever the traced process and the kernel hand over is read back, and is valid.
    #[test]
    fn anything_is_read_back(
        upcalls in prop::collection::vec(
            (
                prop::collection::vec(any::<u8>(), 0..200),
                0..4000u32,
                prop::collection::vec(any::<u8>(), 0..16),
                any::<(u64, u32, u32, i32)>(),
                prop::collection::vec(any::<u8>(), 0..20),
                prop::option::of(".{0,300}"),
            ),
            0..20,
        ),
        snaplen in prop_oneof![Just(0), 1..300u32],
        lost in prop_oneof![Just(0), any::<u64>()],
    ) {
        let mut writer = Writer::new(Vec::new(), snaplen, &SECTION).unwrap();
        for (packet, more, comm, (time, cpu, kind, result), port, key) in &upcalls {
            let mut upcall = upcall(packet);
            upcall.packet.len += more;
            (upcall.comm, upcall.cpu, upcall.kind, upcall.result) = (comm, *cpu, *kind, *result);
            let port = String::from_utf8_lossy(port);
            writer.write(&upcall, upcall.link(), &port, *time, key.as_deref()).unwrap();
        }
        let file = read(&writer.finish(&Stats { start: 1, end: u64::MAX, lost }).unwrap());
        prop_assert_eq!(file.rest, 0);
        prop_assert_eq!(file.packets.len(), upcalls.len());
        for (found, (packet, more, comm, (time, cpu, kind, result), port, key)) in
            file.packets.iter().zip(&upcalls)
        {
            let captured = match snaplen as usize {
                0 => packet.len(),
                snaplen => packet.len().min(snaplen),
            };
            prop_assert_eq!(&found.data, &packet[..captured]);
            prop_assert_eq!(found.original, packet.len() as u32 + more);
            prop_assert_eq!(found.time, *time);
            let name = &file.interfaces[found.interface as usize].name;
            prop_assert!(!name.contains(char::is_control), "{}", name);
            prop_assert_eq!(unescape(name), String::from_utf8_lossy(port).into_owned().into_bytes());
            let mut end = format!(" pid=1381158 upcall_type={kind} result={result}");
            if let Some(key) = key {
                end = format!("{end}\n{key}");
            }
            let start = format!("cpu={cpu} comm=");
            let escaped = found.comment.strip_prefix(&start).and_then(|c| c.strip_suffix(&end));
            prop_assert!(escaped.is_some(), "{}", found.comment);
            prop_assert_eq!(unescape(escaped.unwrap()), comm.as_slice());
        }
        // Received less dropped are the packets; the drops are what was lost.
        let received: u128 = file.statistics.iter().map(|s| u128::from(s.received)).sum();
        let dropped: u128 = file.statistics.iter().filter_map(|s| s.dropped).map(u128::from).sum();
        prop_assert_eq!(dropped, u128::from(lost));
        prop_assert_eq!(received - dropped, upcalls.len() as u128);
        prop_assert_eq!(file.statistics.len(), file.interfaces.len());
    }
}

/// The bytes behind an escaped name.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('x') => {
                    let hex: String = chars.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                }
                other => assert_eq!(other.map(|c| bytes.push(c as u8)), Some(())),
            },
            c => bytes.extend(c.to_string().as_bytes()),
        }
    }
    bytes
}
