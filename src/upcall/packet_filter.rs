//! Packet filters in the language of tcpdump (pcap-filter(7)), compiled by libpcap, and run by it or in the kernel.
//!
//! A build without the feature `packet-filters` takes no expression: each is an [`Error`] that says so.

use std::fmt::{self, Display};

use libc::sock_filter;

use crate::ovs::packet::Link;
use libpcap::compile;

mod in_kernel;
#[cfg(feature = "packet-filters")]
mod libpcap;
#[cfg(not(feature = "packet-filters"))]
#[path = "packet_filter/without_libpcap.rs"]
mod libpcap;

pub use in_kernel::{InKernel, MAX_REACH, MAX_STEPS, NotInKernel, load};

/// Offsets from here on stand for other facts that the kernel has of a packet (`linux/filter.h`), which are not known
/// here.
const SKF_AD_OFF: u32 = libc::SKF_AD_OFF.cast_unsigned();

/// Why an expression is not a filter: what libpcap says of it, and where it stopped, if that is known. Or that there is
/// no libpcap.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    expression: String,
    message: String,
    /// The bytes of the expression that it does not take.
    at: Option<(usize, usize)>,
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            expression,
            message,
            at,
        } = self;
        if !cfg!(feature = "packet-filters") {
            return write!(
                f,
                "this build has no packet filters: it was made without libpcap\n\
                 build it with the cargo feature packet-filters"
            );
        }
        write!(f, "invalid packet filter: {message}")?;
        // One line, so that a position in it can be shown, whatever was typed.
        let shown = |text: &str| text.replace(char::is_control, " ");
        write!(f, "\n    {}", shown(expression))?;
        if let Some((start, end)) = *at {
            let before = expression[..start].chars().count();
            let marks = expression[start..end].chars().count().max(1);
            write!(f, "\n    {:before$}{}", "", "^".repeat(marks))?;
        }
        write!(f, "\npcap-filter(7) describes the language")
    }
}

impl std::error::Error for Error {}

/// What an Ethernet header has before its EtherType: two addresses. And its length.
const ETH_ADDRESSES: usize = 12;
const ETH_HLEN: usize = 14;

/// A filter, compiled for Ethernet frames.
///
/// A packet without an Ethernet header is filtered as if it had one, with its EtherType, so that `udp`, `mpls` and
/// `ether proto 0x894f` say of it what they say. Addresses it has none: a filter that looks at these, as `ether host`
/// does, lets no such packet through, `not ether host` included. `len` and `greater` mean the length of the packet as
/// it is.
#[derive(Clone)]
pub struct Filter {
    instructions: Vec<sock_filter>,
    reach: Option<u32>,
    /// Whether it looks at Ethernet addresses.
    addresses: bool,
    /// Room for a packet with the header that it does not have.
    framed: Vec<u8>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}

impl Filter {
    /// Compiles an expression. Names of hosts, ports and protocols are looked up as they are for other programs, but
    /// for modules of the name service that are not part of libc.
    pub fn new(expression: &str) -> Result<Self, Error> {
        libpcap::keep_within_libc(c"files dns");
        let compiled = compile(expression).and_then(|instructions| {
            let mut loads = instructions
                .iter()
                .filter(|i| class(i) == libc::BPF_LD && mode(i) == libc::BPF_ABS);
            if loads.any(|load| load.k >= SKF_AD_OFF) {
                return Err(
                    "inbound and outbound are known of packets on a device only".to_string()
                );
            }
            Ok(instructions)
        });
        match compiled {
            Ok(instructions) => Ok(Self {
                reach: reach(&instructions),
                addresses: instructions.iter().any(loads_address),
                instructions,
                framed: Vec::new(),
            }),
            Err(message) => {
                let at = is_syntax_error(&message).then(|| locate(expression));
                Err(Error {
                    expression: expression.to_string(),
                    message,
                    at,
                })
            }
        }
    }

    /// Whether the filter lets a packet of `len` bytes through, of which `captured` is the beginning. One that was cut
    /// before what the filter looks at does not pass, whatever the filter would say of missing bytes; nor does one of
    /// an unknown link type, unless the filter looks at no bytes.
    pub fn matches(&mut self, link: Link, captured: &[u8], len: u32) -> bool {
        match link {
            Link::Ethernet => self.run(captured, len),
            Link::Network(_) if self.addresses => false,
            Link::Network(ether_type) => {
                let seen = captured.len().min(self.looked_at(ETH_HLEN));
                let mut framed = std::mem::take(&mut self.framed);
                framed.clear();
                framed.extend_from_slice(&[0; ETH_ADDRESSES]);
                framed.extend_from_slice(&ether_type.to_be_bytes());
                framed.extend_from_slice(&captured[..seen]);
                let matches = self.run(&framed, len);
                self.framed = framed;
                matches
            }
            Link::Unknown => self.run(&[], len),
        }
    }

    fn run(&self, bytes: &[u8], len: u32) -> bool {
        // SAFETY: the instructions are all that compile() returned.
        unsafe { libpcap::run(&self.instructions, bytes, len) }
    }

    /// Whether what [`matches`](Self::matches) says is sure: `captured` bytes are all that the filter looks at.
    pub fn is_sure(&self, link: Link, captured: usize, len: u32) -> bool {
        let missing = match link {
            Link::Ethernet => 0,
            Link::Network(_) if self.addresses => return true,
            Link::Network(_) => ETH_HLEN,
            Link::Unknown => return self.reach == Some(0),
        };
        captured >= self.looked_at(missing).min(len as usize)
    }

    /// How many bytes of a packet it looks at that begins behind the first `missing` bytes of a frame.
    fn looked_at(&self, missing: usize) -> usize {
        let reach = self.reach.map_or(usize::MAX, |reach| reach as usize);
        reach.saturating_sub(missing)
    }

    /// How much of a frame the filter looks at: this many of its first bytes; `None` if it depends on the packet.
    pub fn reach(&self) -> Option<u32> {
        self.reach
    }

    /// The filter as `bpf/packet_filter.bpf.h` runs it.
    pub fn in_kernel(&self) -> Result<InKernel, NotInKernel> {
        let reach = match self.reach {
            Some(reach) if reach <= MAX_REACH => reach,
            Some(reach) => return Err(NotInKernel::Far(reach)),
            None => return Err(NotInKernel::Anywhere),
        };
        if self.instructions.len() > MAX_STEPS {
            return Err(NotInKernel::Long(self.instructions.len()));
        }
        let steps = self.instructions.iter().map(in_kernel::step);
        match steps.collect() {
            Some(steps) => Ok(InKernel {
                steps,
                reach,
                addresses: self.addresses,
            }),
            None => Err(NotInKernel::Instruction),
        }
    }
}

// BPF_CLASS(), BPF_SIZE(), BPF_MODE() and BPF_MISCOP() of pcap/bpf.h.
fn class(instruction: &sock_filter) -> u32 {
    u32::from(instruction.code) & 0x07
}

fn width(instruction: &sock_filter) -> u32 {
    match u32::from(instruction.code) & 0x18 {
        libc::BPF_W => 4,
        libc::BPF_H => 2,
        _ => 1,
    }
}

fn mode(instruction: &sock_filter) -> u32 {
    u32::from(instruction.code) & 0xe0
}

fn miscop(instruction: &sock_filter) -> u32 {
    u32::from(instruction.code) & 0xf8
}

/// Whether an instruction may load something from before the EtherType of a frame.
fn loads_address(instruction: &sock_filter) -> bool {
    use libc::{BPF_ABS, BPF_IND, BPF_LD, BPF_LDX, BPF_MSH};
    // An index does not make it less: the sum may not wrap around.
    matches!(
        (class(instruction), mode(instruction)),
        (BPF_LD, BPF_ABS | BPF_IND) | (BPF_LDX, BPF_MSH)
    ) && (instruction.k as usize) < ETH_ADDRESSES
}

fn reach(instructions: &[sock_filter]) -> Option<u32> {
    use libc::{BPF_ABS, BPF_IMM, BPF_IND, BPF_LD, BPF_LDX, BPF_MISC, BPF_MSH, BPF_TAX};
    // The greatest value that the index register can have, wherever it is set. It is 0 at first.
    let mut index = Some(0);
    for i in instructions {
        let set = match (class(i), mode(i)) {
            (BPF_LDX, BPF_IMM) => Some(i.k),
            // Four times a number of 4 bits: the length of an IPv4 header.
            (BPF_LDX, BPF_MSH) => Some(60),
            (BPF_LDX, _) => None,
            (BPF_MISC, _) if miscop(i) == BPF_TAX => None,
            _ => continue,
        };
        index = index.zip(set).map(|(index, set)| index.max(set));
    }
    let mut reach = 0;
    for i in instructions {
        let end = match (class(i), mode(i)) {
            (BPF_LD, BPF_ABS) => i.k.checked_add(width(i)),
            (BPF_LDX, BPF_MSH) => i.k.checked_add(1),
            (BPF_LD, BPF_IND) => index
                .and_then(|index| index.checked_add(i.k))
                .and_then(|start| start.checked_add(width(i))),
            _ => continue,
        };
        reach = reach.max(end?);
    }
    Some(reach)
}

fn is_syntax_error(message: &str) -> bool {
    message.contains("syntax error")
}

/// What may follow the beginning of an expression: one of these completes every beginning.
const COMPLETIONS: [&str; 11] = [
    "",
    "1",
    "ip",
    "name",
    "1.0.0.0",
    "0:0:0:0:0:0",
    "1-2",
    "port 1",
    "host 1.0.0.0",
    "dst 1.0.0.0",
    "proto 1",
];

/// Where an expression stops being the beginning of one: the bytes of that word or sign, or its end.
///
/// libpcap only says that there is a syntax error, so it is asked about ever longer beginnings.
fn locate(expression: &str) -> (usize, usize) {
    // An unknown name is not a syntax error, so that no name has to be looked up.
    libpcap::keep_within_libc(c"files");
    let mut rest = expression;
    while let Some(token) = next_token(rest) {
        let start = expression.len() - rest.len() + token.0;
        let end = expression.len() - rest.len() + token.1;
        if !is_beginning(&expression[..end]) {
            return (start, end);
        }
        rest = &expression[end..];
    }
    (expression.len(), expression.len())
}

/// The next word or sign of `text`.
fn next_token(text: &str) -> Option<(usize, usize)> {
    let start = text.find(|c: char| !c.is_whitespace())?;
    let kind = |c: char| match c {
        c if c.is_whitespace() => 0,
        '(' | ')' | '[' | ']' => 1,
        '<' | '>' | '=' | '!' | '&' | '|' => 2,
        _ => 3,
    };
    let mut chars = text[start..].char_indices();
    let first = chars.next().map(|(_, c)| kind(c))?;
    let end = chars
        .find(|(_, c)| first == 1 || kind(*c) != first)
        .map_or(text.len(), |(end, _)| start + end);
    Some((start, end))
}

fn is_beginning(text: &str) -> bool {
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            ')' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    let closing: String = open.iter().rev().collect();
    COMPLETIONS.iter().any(|completion| {
        ["", "= 1"].iter().any(|relation| {
            let whole = format!("{text} {completion} {closing} {relation}");
            compile(&whole).map_or_else(|message| !is_syntax_error(&message), |_| true)
        })
    })
}

#[cfg(all(test, feature = "packet-filters"))]
mod tests {
    use super::*;

    /// Check that what libpcap does not take is pointed at: the first word or sign with which it can go on in no way.
    #[test]
    fn pointed_at() {
        for (expression, at) in [
            ("udp prt 53", "prt 53"),
            ("udp port", ""),
            ("host 10.0.0.1 andd port 53", "andd port 53"),
            ("tcp and (port 80 or)", ")"),
            ("tcp[13] & 2 != 0 tcp foo bar", "tcp foo bar"),
            ("ip[0", ""),
            ("(udp", ""),
            ("udp)", ")"),
            ("not", ""),
            ("len > 60 or len > foo", "foo"),
            ("src and dst", ""),
            ("udp port 53 or or tcp", "or tcp"),
            ("ether[0] & 1 = 0 and ip[16] => 224", "=> 224"),
            ("udp port é 5", "é 5"),
            ("udp port 53\nprt", "prt"),
        ] {
            let error = Filter::new(expression).expect_err(expression);
            let (start, _) = error.at.expect("a place");
            assert_eq!(&expression[start..], at, "{expression}: {error}");
        }
        let text = Filter::new("udp\tpört 53").unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..3], ["    udp pört 53", "        ^^^^"], "{text}");
    }

    /// Check that an error that is not one of syntax says what is wrong, and that what only a capture on a device knows
    /// is one.
    #[test]
    fn said() {
        for (expression, said) in [
            ("vlan 5000", "5000"),
            ("host no-such-host.invalid", "no-such-host.invalid"),
            ("inbound or udp", "inbound"),
        ] {
            let error = Filter::new(expression).expect_err(expression);
            assert_eq!(error.at, None, "{expression}");
            assert!(error.message.contains(said), "{error}");
        }
    }

    /// Check how much of a packet filters look at, by the formats of the headers.
    #[test]
    fn looks_at() {
        for (expression, reach) in [
            ("arp", Some(14)),
            ("greater 100", Some(0)),
            ("ether[100:4] = 0", Some(104)),
            // The protocol.
            ("ip proto 6", Some(24)),
            // An IPv4 header of 60 bytes, and two ports of UDP.
            ("ip and udp port 53", Some(14 + 60 + 4)),
            ("tcp[13] & 2 != 0", Some(14 + 60 + 14)),
            // Where headers are follows from headers.
            ("tcp[(tcp[12] & 0xf0) >> 2] = 71", None),
        ] {
            let filter = Filter::new(expression).expect(expression);
            assert_eq!(filter.reach(), reach, "{expression}");
        }
    }

    /// Check that the length is that of the packet, not of what there is of it, and that bytes which are not there
    /// match nothing.
    #[test]
    fn cut() {
        let packet = [0; 60];
        let matches = |expression: &str, captured: &[u8], len| {
            let mut filter = Filter::new(expression).expect(expression);
            filter.matches(Link::Ethernet, captured, len)
        };
        assert!(matches("greater 1000", &packet, 1000));
        assert!(!matches("greater 1000", &packet, 999));
        assert!(matches("len = 60", &[], 60));
        assert!(matches("ether[59] = 0", &packet, 60));
        assert!(!matches("ether[59] = 0", &packet[..59], 60));
        assert!(!matches("not ether[59] = 1", &packet[..59], 60));
    }
}
