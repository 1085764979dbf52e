//! Packet filters: what is sure of the beginning of a packet is true of all of it, and the program for the kernel, run by
//! an interpreter of its steps that is written here, says what libpcap's own interpreter says.
//!
//! Input: a byte for the number of words, one for each word of the expression, one that says where the packet is cut,
//! two of an EtherType, the packet.

#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use ovs_tracers::bpf::upcall_monitor::types::{packet_action as Action, packet_value as Value};
use ovs_tracers::ovs::packet::Link;
use ovs_tracers::upcall::packet_filter::{Filter, InKernel};
use ovs_tracers_fuzz::head;

/// Words of the language, none of which has to be looked up anywhere.
const WORDS: [&str; 64] = [
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "igmp",
    "vlan",
    "mpls",
    "pppoes",
    "and",
    "or",
    "not",
    "(",
    ")",
    "port",
    "host",
    "net",
    "src",
    "dst",
    "ether",
    "proto",
    "greater",
    "less",
    "len",
    "=",
    "!=",
    ">",
    "<",
    ">=",
    "&",
    "|",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "<<",
    ">>",
    "[",
    "]",
    ":",
    "0",
    "1",
    "2",
    "4",
    "6",
    "12",
    "53",
    "255",
    "0x0800",
    "4294967295",
    "10.0.0.1",
    "10.0.0.0/8",
    "::1",
    "fe80::/10",
    "02:00:00:00:00:01",
    "multicast",
    "broadcast",
    "portrange 1-1024",
];

/// Runs the steps as `bpf/packet_filter.bpf.h` says. `None` if it looks at a byte that is not there.
fn interpret(filter: &InKernel, frame: &[u8], len: u32) -> Option<bool> {
    let (mut a, mut x, mut words) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0;
    loop {
        let step = filter.steps.get(at).expect("a program ends in a return");
        at += 1;
        let load = |from: u32, width: u8| {
            let from = from as usize;
            let bytes = frame.get(from..from.checked_add(usize::from(width))?)?;
            Some(
                bytes
                    .iter()
                    .fold(0, |value, byte| value << 8 | u32::from(*byte)),
            )
        };
        let value = match Value(step.value.into()) {
            Value::VALUE_K => step.k,
            Value::VALUE_X => x,
            Value::VALUE_A => a,
            Value::VALUE_LEN => len,
            Value::VALUE_WORD => words[step.k as usize],
            Value::VALUE_AT_K => load(step.k, step.width)?,
            Value::VALUE_AT_X => load(x.checked_add(step.k)?, step.width)?,
            Value::VALUE_MSH => (load(step.k, 1)? & 0xf) << 2,
            other => panic!("{other:?}"),
        };
        let mut jump = |holds: bool| at += usize::from(if holds { step.jt } else { step.jf });
        match Action(step.action.into()) {
            Action::ACTION_TO_A => a = value,
            Action::ACTION_TO_X => x = value,
            Action::ACTION_TO_WORD => words[step.k as usize] = value,
            Action::ACTION_ADD => a = a.wrapping_add(value),
            Action::ACTION_SUB => a = a.wrapping_sub(value),
            Action::ACTION_MUL => a = a.wrapping_mul(value),
            // By nothing: the program rejects the packet.
            Action::ACTION_DIV if value == 0 => return Some(false),
            Action::ACTION_MOD if value == 0 => return Some(false),
            Action::ACTION_DIV => a /= value,
            Action::ACTION_MOD => a %= value,
            Action::ACTION_AND => a &= value,
            Action::ACTION_OR => a |= value,
            Action::ACTION_XOR => a ^= value,
            Action::ACTION_LSH => a = a.checked_shl(value).unwrap_or(0),
            Action::ACTION_RSH => a = a.checked_shr(value).unwrap_or(0),
            Action::ACTION_JEQ => jump(a == value),
            Action::ACTION_JGT => jump(a > value),
            Action::ACTION_JGE => jump(a >= value),
            Action::ACTION_JSET => jump(a & value != 0),
            Action::ACTION_RETURN => return Some(value != 0),
            other => panic!("{other:?}"),
        }
    }
}

thread_local! {
    /// Expressions that were compiled: that takes far longer than to run one.
    static FILTERS: RefCell<HashMap<String, Option<Filter>>> = RefCell::default();
}

fn check(filter: &mut Filter, link: Link, packet: &[u8], part: &[u8]) {
    let len = packet.len() as u32;
    let whole = filter.matches(link, packet, len);
    let cut = filter.matches(link, part, len);
    let sure = filter.is_sure(link, part.len(), len);
    assert!(!sure || cut == whole);
    if filter.reach().is_some() && link != Link::Unknown {
        assert!(filter.is_sure(link, packet.len(), len));
    }
    let Ok(in_kernel) = filter.in_kernel() else {
        return;
    };
    if link == Link::Ethernet {
        let reach = in_kernel.reach as usize;
        for (bytes, expected) in [(packet, whole), (part, cut)] {
            let seen = &bytes[..bytes.len().min(reach)];
            let found = interpret(&in_kernel, seen, len);
            assert_eq!(found.unwrap_or(false), expected, "{in_kernel:?}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([count], rest)) = head(data) else {
        return;
    };
    let Some((words, rest)) = rest.split_at_checked(usize::from(count % 12)) else {
        return;
    };
    let Some(([cut, high, low], packet)) = head(rest) else {
        return;
    };
    let words: Vec<&str> = words
        .iter()
        .map(|word| WORDS[usize::from(word % 64)])
        .collect();
    let expression = words.join(" ");
    FILTERS.with_borrow_mut(|filters| {
        if filters.len() > 10_000 {
            filters.clear();
        }
        let filter = filters.entry(expression.clone()).or_insert_with(|| {
            let filter = Filter::new(&expression);
            if let Err(error) = &filter {
                assert!(error.to_string().lines().count() >= 3, "{error}");
            }
            filter.ok()
        });
        let Some(filter) = filter else { return };
        let part = &packet[..usize::from(cut).min(packet.len())];
        let network = Link::Network(u16::from_be_bytes([high, low]));
        for link in [Link::Ethernet, network, Link::Unknown] {
            check(filter, link, packet, part);
        }
    });
});
