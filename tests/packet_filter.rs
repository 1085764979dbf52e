//! Packet filters in the kernel against libpcap's own interpreter, which user space has.
//!
//! These tests need root. Without it each is listed as ignored: this is why they have a harness of their own.

#[path = "common/packets.rs"]
mod packets;

mod common;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::ExitCode;

use common::{is_root, trial};
use libbpf_rs::ProgramInput;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libtest_mimic::Arguments;
use ovs_tracers::bpf::record::bytes;
use ovs_tracers::bpf::upcall_monitor::UpcallMonitorSkelBuilder;
use ovs_tracers::bpf::upcall_monitor::types::{packet_head, packet_head_limit, packet_verdict};
use ovs_tracers::ovs::packet::Link;
use ovs_tracers::trace::kernel::Need;
use ovs_tracers::upcall::packet_filter::{self, Filter};
use packets::vectors;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = is_root();
    let trials = vec![
        trial("as_libpcap", as_libpcap, &[("root", root)]),
        trial("arithmetic", arithmetic, &[("root", root)]),
        trial("verified", verified, &[("root", root)]),
        trial(
            "beside_the_rest",
            beside_the_rest,
            &[
                ("root", root),
                ("BTF", Path::new("/sys/kernel/btf/vmlinux").exists()),
            ],
        ),
        trial("limits", limits, &[]),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

const REJECTED: u32 = packet_verdict::PACKET_REJECTED.0;
const PASSES: u32 = packet_verdict::PACKET_PASSES.0;
const UNKNOWN: u32 = packet_verdict::PACKET_UNKNOWN.0;

const ETH_HLEN: usize = 14;
const PACKET_AT: usize = packet_head_limit::PACKET_AT.0 as usize;

/// Runs the filter in the kernel on every packet, whole and cut at some places, and compares. Returns what it said.
#[track_caller]
fn compare(expression: &str, filter: &mut Filter) -> BTreeSet<u32> {
    let in_kernel = filter.in_kernel().expect(expression);
    let mut storage = MaybeUninit::uninit();
    let skel = packet_filter::load(&in_kernel, &mut storage).expect(expression);
    let mut verdicts = BTreeSet::new();
    for vector in vectors() {
        let whole = &vector.bytes;
        let reach = (in_kernel.reach as usize).min(whole.len());
        let at_most = |len: usize| len.min(reach);
        for captured in
            BTreeSet::from([0, 13, 24, 37, reach / 2, reach.saturating_sub(1), reach].map(at_most))
        {
            let mut head = packet_head {
                len: whole.len() as u32,
                size: whole.len() as u32,
                captured: captured as u32,
                frame_at: PACKET_AT as u32,
                ..Default::default()
            };
            head.data[PACKET_AT..][..captured].copy_from_slice(&whole[..captured]);
            let run = |head: &packet_head| {
                let mut context = bytes(head).to_vec();
                let input = ProgramInput {
                    context_in: Some(&mut context),
                    ..Default::default()
                };
                let output = skel.progs.run_packet_filter.test_run(input);
                output.expect(expression).return_value
            };
            let verdict = run(&head);
            verdicts.insert(verdict);
            let cut = filter.matches(Link::Ethernet, &whole[..captured], whole.len() as u32);
            let said = format!("{expression}: {} at {captured}: {verdict}", vector.name);
            assert_eq!(verdict == PASSES, cut, "{said}");
            match verdict {
                PASSES | REJECTED => {
                    let matches = filter.matches(Link::Ethernet, whole, whole.len() as u32);
                    assert_eq!(verdict == PASSES, matches, "{said}");
                }
                _ => {
                    assert_eq!(verdict, UNKNOWN, "{said}");
                    assert!(captured < reach, "{said}");
                }
            }
            // The same packet without its Ethernet header, as begin_head() puts it.
            let Some(rest) = whole[..captured].get(ETH_HLEN..) else {
                continue;
            };
            let ether_type = u16::from_be_bytes([whole[12], whole[13]]);
            head.data.fill(0);
            head.data[12..14].copy_from_slice(&whole[12..14]);
            head.data[PACKET_AT..][..rest.len()].copy_from_slice(rest);
            head.frame_at = 0;
            head.len -= ETH_HLEN as u32;
            let verdict = run(&head);
            let link = Link::Network(ether_type);
            let matches = filter.matches(link, rest, head.len);
            let expected = verdict == PASSES && !in_kernel.addresses;
            assert_eq!(matches, expected, "without Ethernet: {said}");
        }
    }
    verdicts
}

/// Those of which the work of the verifier is asked for, the longest last.
const EXPRESSIONS: [&str; 8] = [
    "udp port 53",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "host 10.0.0.1 and not port 22",
    "ip6 and tcp port 443",
    "vlan 100 and udp",
    "arp or icmp",
    "net 10.0.0.0/8 or net 172.16.0.0/12 or port 53 or port 80 or port 443",
    "(port 1 or 2 or 3 or 4) and (host 1.1.1.1 or 2.2.2.2 or 3.3.3.3 or 4.4.4.4) and less 300 and greater 60",
];

/// Check that of every recorded packet, whole or cut, the kernel says what libpcap says; that where it does not know,
/// the packet was cut before what the filter looks at; and that where it knows, the whole packet gives the same.
fn as_libpcap() {
    let mut verdicts = BTreeSet::new();
    for expression in EXPRESSIONS.into_iter().chain([
        "greater 100",
        "less 64 or greater 1000",
        "ether[0] & 1 = 1",
        "not ether[59] = 1",
        "ether[127] = 0",
        "vlan and vlan",
        "mpls",
        "pppoes and ip",
        "sctp or rarp or ether proto 0x88cc",
        "icmp6 and ip6[40] = 135",
        "ip[8] < 64 and ip[2:2] > 100",
        "udp[4:2] > 100 and not udp dst portrange 1-1023",
        "ip proto 50 or ip6 proto 50",
        "ether host 0a:00:00:00:00:01",
        "tcp[0:4] = 0x9c4001bb",
        "ip6 net fe80::/10",
        "ip[0] & 0xf > 5",
    ]) {
        let mut filter = Filter::new(expression).expect(expression);
        verdicts.extend(compare(expression, &mut filter));
    }
    assert_eq!(verdicts, BTreeSet::from([REJECTED, PASSES, UNKNOWN]));
}

/// Numbers that look random and are the same every time: Knuth's MMIX.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn number(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 4 } else { 9 }) {
            0 => format!("{}", self.below(40)),
            1 => format!("0x{:x}", self.below(1 << 31) * 2),
            2 => "len".to_string(),
            3 => {
                let width = self.one_of(&["1", "2", "4"]);
                format!("ether[{}:{width}]", self.below(80))
            }
            4 => format!("(-{})", self.number(depth - 1)),
            _ => {
                let (a, b) = (self.number(depth - 1), self.number(depth - 1));
                let operator = self.one_of(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
                format!("({a} {operator} {b})")
            }
        }
    }

    fn relation(&mut self) -> String {
        let (a, b) = (self.number(3), self.number(1));
        let relation = self.one_of(&["=", "!=", "<", ">", "<=", ">="]);
        format!("{a} {relation} {b}")
    }

    fn expression(&mut self) -> String {
        let mut expression = self.relation();
        for _ in 0..self.below(3) {
            let (and, not) = (self.one_of(&["and", "or"]), self.one_of(&["", "not "]));
            let other = match self.below(3) {
                0 => self
                    .one_of(&["ip", "udp", "tcp port 443", "vlan", "arp"])
                    .to_string(),
                _ => self.relation(),
            };
            expression = format!("({expression}) {and} {not}({other})");
        }
        expression
    }
}

/// Check the same of arithmetic on what is in packets, which has every operation, division by zero and shifts by more
/// than 31 among them.
fn arithmetic() {
    let mut random = Random(1);
    let mut verdicts = BTreeSet::new();
    let mut actions = BTreeSet::new();
    let mut values = BTreeSet::new();
    let mut compared = 0;
    while compared < 400 {
        let expression = random.expression();
        // A division by a constant 0, for one, is no expression.
        let Ok(mut filter) = Filter::new(&expression) else {
            continue;
        };
        let Ok(in_kernel) = filter.in_kernel() else {
            continue;
        };
        actions.extend(in_kernel.steps.iter().map(|step| step.action));
        values.extend(in_kernel.steps.iter().map(|step| step.value));
        verdicts.extend(compare(&expression, &mut filter));
        compared += 1;
    }
    assert_eq!(verdicts, BTreeSet::from([REJECTED, PASSES, UNKNOWN]));
    // All that there are.
    assert_eq!(actions, (0..18).collect());
    assert_eq!(values, (0..8).collect());
}

/// Check that the verifier takes the longest filters too, and has far from enough of them: it gives up at a million
/// instructions.
fn verified() {
    let long: Vec<String> = (1..=37).map(|n| format!("host 10.0.{n}.1")).collect();
    let long = long.join(" or ");
    for expression in EXPRESSIONS.into_iter().chain([long.as_str()]) {
        let filter = Filter::new(expression).expect(expression);
        let filter = filter.in_kernel().expect(expression);
        let mut storage = MaybeUninit::uninit();
        let _skel = packet_filter::load(&filter, &mut storage).expect(expression);
        let programs = ProgInfoIter::default();
        let newest = programs.max_by_key(|program| program.id).expect("one");
        assert!(newest.verified_insns < 100_000, "{expression}");
    }
}

/// Check that the programs for received and for failed upcalls are taken with a filter in them, within the stack that
/// all their functions have together. fexit is not tested: it needs the module, and not every kernel has it.
fn beside_the_rest() {
    let filter = Filter::new(EXPRESSIONS[6]).expect("an expression");
    let filter = filter.in_kernel().expect("it can run there");
    let before = ProgInfoIter::default().map(|program| program.id).max();
    let before = before.unwrap_or_default();
    let mut storage = MaybeUninit::uninit();
    let mut open = UpcallMonitorSkelBuilder::default()
        .open(&mut storage)
        .expect("it opens");
    let has_multi = ovs_tracers::trace::kernel::has_uprobe_multi();
    open.progs.recv_upcall_multi.set_autoload(has_multi);
    open.progs.recv_filtered_multi.set_autoload(has_multi);
    open.progs.upcall_failed.set_autoload(false);
    open.progs.failed_filtered.set_autoload(false);
    open.progs.recv_ends.set_autoload(false);
    let has_dynptr = Need::SkbDynptr.missing().is_none();
    open.progs.recv_message_pages.set_autoload(has_dynptr);
    open.progs
        .recv_message_pages_filtered
        .set_autoload(has_dynptr);
    let rodata = open.maps.rodata_data.as_deref_mut().expect("variables");
    rodata.set_packet_filter(&filter);
    rodata.targ_filters = 1;
    rodata.targ_by_port = 1;
    rodata.targ_count_lost = 1;
    // As many ways to the filter as there can be.
    rodata.targ_specs = rodata.targ_args.len() as u32;
    for (spec, args) in rodata.targ_args.iter_mut().enumerate() {
        for (number, arg) in args.iter_mut().enumerate() {
            arg.operand = ovs_tracers::trace::spec::REGISTER;
            arg.reg = (spec + number) as u8;
            arg.size = if number % 2 == 0 { 8 } else { 4 };
        }
    }
    let skel = open.load().expect("the kernel takes it");
    let programs = ProgInfoIter::default().filter(|program| program.id > before);
    let programs: Vec<_> = programs.collect();
    assert!(programs.len() >= 4);
    for program in programs {
        let verified = program.verified_insns;
        assert!(verified < 150_000, "{:?}: {verified}", program.name);
    }
    drop(skel);
}

/// Check which filters are applied in user space, and that the reason is reported.
fn limits() {
    let hosts: Vec<String> = (1..=200).map(|n| format!("host 10.0.{n}.1")).collect();
    for (expression, why) in [
        (
            "tcp[(tcp[12] & 0xf0) >> 2] = 71",
            "what it looks at depends on the packet",
        ),
        (
            "ether[128] = 0",
            "it looks at the first 129 bytes of a packet, and the kernel at 128 at most",
        ),
        (
            &hosts.join(" or "),
            "it has 960 instructions, and the kernel takes 128 at most",
        ),
    ] {
        let filter = Filter::new(expression).expect(expression);
        let said = filter.in_kernel().map(drop).map_err(|why| why.to_string());
        assert_eq!(said, Err(why.to_string()));
    }
}
