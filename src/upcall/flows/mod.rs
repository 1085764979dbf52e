//! Who causes upcalls: counts by flow, and what they add up to.
//!
//! A flow here is what upcalls are counted by: datapath, port, handler thread, type, result, protocol and addresses. It
//! does not have the ports of TCP or UDP, so that a port scan is one flow and not thousands.

mod report;

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::mem::offset_of;
use std::net::IpAddr;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::upcall_monitor::types::{
    counted_flow, flow_id, flow_place, flow_source, userdata_layout,
};
use crate::ovs::flow_key::{self, Key};
use crate::ovs::packet::names::{
    self, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP, IPPROTO_ICMPV6,
};
use crate::ovs::userdata::{Reason, Userdata};
use crate::upcall::event::Upcall;
use crate::upcall::record::NO_PORT;

pub use report::{Names, Report};

/// How many flows are counted separately. The upcalls of further flows are counted without their addresses.
const MAX_FLOWS: usize = 1 << 17;

/// Whom an upcall came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Padded with NUL.
    pub datapath: [u8; 32],
    /// The number of the datapath, if it has no name here.
    pub dp_ifindex: Option<u32>,
    /// Which of the traced daemons.
    pub target: u32,
    /// The handler thread; 0 if the upcall failed in the kernel.
    pub tid: u32,
    /// 0, or the negative errno with which it failed in the kernel.
    pub result: i32,
    /// `enum dpif_upcall_type`.
    pub kind: u32,
    /// Why an action sent the packet up, if the upcall has the attributes of its message.
    pub reason: Option<Reason>,
    /// Number of the port, if it is known.
    pub port: Option<u32>,
    eth_type: [u8; 2],
    /// The protocol of IP.
    pub proto: u8,
    /// Whether the addresses are missing, because there were too many flows.
    folded: bool,
    /// Of IPv6, or of IPv4 or ARP in the first four bytes.
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

/// `struct flow_source` of `bpf/upcall_monitor.h`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FlowSource {
    /// `NO_PORT` if it is not known; it cannot be distinguished from a port of that number.
    port: u32,
    eth_type: [u8; 2],
    proto: u8,
    folded: u8,
    src: [u8; 16],
    dst: [u8; 16],
}

/// `struct flow_id` of the same file.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FlowId {
    datapath: [u8; 32],
    /// 0 if the datapath has a name.
    dp_ifindex: u32,
    target: u32,
    tid: u32,
    result: i32,
    kind: u32,
    from: FlowSource,
}

/// `struct counted_flow` of the same file.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CountedFlow {
    dp_ifindex: u32,
    target: u32,
    tid: u32,
    userdata_detail: [u8; 8],
    userdata_type: [u8; 2],
    /// 0 if there is no userdata.
    userdata_size: u16,
    kind: u32,
    from: FlowSource,
}

/// `struct flow_place` of `bpf/upcall_monitor/flows.bpf.h`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FlowPlace {
    claims: u64,
    /// 0: `flow` is not complete.
    ready: u64,
    count: u64,
    flow: CountedFlow,
    padding: [u8; 4],
}

const _: () = {
    assert!(size_of::<FlowSource>() == size_of::<flow_source>());
    assert!(offset_of!(FlowSource, eth_type) == offset_of!(flow_source, eth_type));
    assert!(offset_of!(FlowSource, src) == offset_of!(flow_source, src));
    assert!(size_of::<FlowId>() == size_of::<flow_id>());
    assert!(offset_of!(FlowId, result) == offset_of!(flow_id, result));
    assert!(size_of::<CountedFlow>() == size_of::<counted_flow>());
    assert!(offset_of!(CountedFlow, userdata_detail) == offset_of!(counted_flow, userdata_detail));
    assert!(offset_of!(CountedFlow, kind) == offset_of!(counted_flow, r#type));
    assert!(size_of::<FlowPlace>() == size_of::<flow_place>());
    assert!(offset_of!(FlowPlace, flow) == offset_of!(flow_place, flow));
};

impl CountedFlow {
    /// The reason that the userdata has. The program took what says it, and not all of the bytes.
    fn reason(&self) -> Option<Reason> {
        const STRUCT_SIZE: usize = userdata_layout::USERDATA_STRUCT_SIZE.0 as usize;
        const STRUCT_DETAIL: usize = userdata_layout::USERDATA_STRUCT_DETAIL.0 as usize;
        let size = usize::from(self.userdata_size);
        if size == 0 {
            return None;
        }
        let mut userdata = [0; STRUCT_SIZE];
        let at = if size == STRUCT_SIZE {
            STRUCT_DETAIL
        } else {
            0
        };
        userdata[at..at + self.userdata_detail.len()].copy_from_slice(&self.userdata_detail);
        userdata[..2].copy_from_slice(&self.userdata_type);
        // None of the layouts is larger.
        Some(
            userdata
                .get(..size)
                .map_or(Reason::Unknown, |userdata| Userdata::new(userdata).reason()),
        )
    }
}

impl Flow {
    fn from_source(source: &FlowSource) -> Self {
        Self {
            datapath: [0; 32],
            dp_ifindex: None,
            target: 0,
            tid: 0,
            result: 0,
            kind: 0,
            reason: None,
            port: Some(source.port).filter(|port| *port != NO_PORT),
            eth_type: source.eth_type,
            proto: source.proto,
            folded: source.folded != 0,
            src: source.src,
            dst: source.dst,
        }
    }

    /// Reads a flow as the BPF programs count lost upcalls: a `struct flow_id`. `None` if there are too few bytes.
    pub fn from_flow_id(bytes: &[u8]) -> Option<Self> {
        let id = FlowId::read_from_bytes(bytes).ok()?;
        Some(Self {
            datapath: id.datapath,
            dp_ifindex: Some(id.dp_ifindex).filter(|number| *number != 0),
            target: id.target,
            tid: id.tid,
            result: id.result,
            kind: id.kind,
            ..Self::from_source(&id.from)
        })
    }

    /// Reads a flow as they count those that they do not send: a `struct counted_flow`.
    pub fn from_counted_flow(bytes: &[u8]) -> Option<Self> {
        Some(Self::counted(&CountedFlow::read_from_bytes(bytes).ok()?))
    }

    /// Reads a flow, and how many there are of it, from a place in the table where they count most of them: a `struct
    /// flow_place`. `None` if the place is free, or its flow is not complete yet.
    pub fn from_flow_place(bytes: &[u8]) -> Option<(Self, u64)> {
        let place = FlowPlace::read_from_bytes(bytes).ok()?;
        (place.ready != 0).then(|| (Self::counted(&place.flow), place.count))
    }

    fn counted(counted: &CountedFlow) -> Self {
        Self {
            dp_ifindex: Some(counted.dp_ifindex),
            target: counted.target,
            tid: counted.tid,
            kind: counted.kind,
            reason: counted.reason(),
            ..Self::from_source(&counted.from)
        }
    }

    /// The flow of an upcall. What its key does not say, or what could not be read of it, is 0.
    pub fn of(upcall: &Upcall<'_>) -> Self {
        let mut flow = Self {
            datapath: [0; 32],
            dp_ifindex: upcall.dp_ifindex.filter(|_| upcall.datapath.is_empty()),
            target: upcall.target,
            tid: upcall.tid,
            result: upcall.result,
            kind: upcall.kind,
            reason: upcall.other_attributes().and_then(|other| other.reason()),
            port: None,
            eth_type: [0; 2],
            proto: 0,
            folded: false,
            src: [0; 16],
            dst: [0; 16],
        };
        for (to, from) in flow.datapath.iter_mut().zip(upcall.datapath) {
            *to = *from;
        }
        match &upcall.failed_from {
            Some(from) => {
                flow.tid = 0;
                flow.port = from.port;
                flow.eth_type = from.eth_type.to_be_bytes();
                flow.proto = from.proto;
                flow.src = from.src;
                flow.dst = from.dst;
            }
            None => flow.read_key(flow_key::attributes(upcall.key.bytes), 0),
        }
        flow
    }

    /// As `flow_of_key()` of `bpf/upcall_monitor/flow_source.bpf.h`.
    fn read_key(&mut self, attributes: flow_key::Attributes<'_>, depth: u32) {
        for attribute in attributes {
            match attribute.key() {
                Key::Encap(nested) if depth < flow_key::MAX_NESTED => {
                    self.read_key(nested, depth + 1);
                }
                Key::InPort(port) => self.port = Some(port),
                Key::EtherType(eth_type) => self.eth_type = eth_type.to_be_bytes(),
                Key::Ipv4(key) => {
                    self.set_v4(key.src, key.dst);
                    self.proto = key.proto;
                }
                Key::Ipv6(key) => {
                    self.src = key.src;
                    self.dst = key.dst;
                    self.proto = key.proto;
                }
                Key::Arp(key) => self.set_v4(key.sip, key.tip),
                _ => {}
            }
        }
    }

    fn set_v4(&mut self, src: [u8; 4], dst: [u8; 4]) {
        self.src[..4].copy_from_slice(&src);
        self.dst[..4].copy_from_slice(&dst);
    }

    fn without_addresses(mut self) -> Self {
        self.src = [0; 16];
        self.dst = [0; 16];
        self.folded = true;
        self
    }

    /// Without the NUL bytes behind it.
    pub fn datapath(&self) -> &[u8] {
        let end = self.datapath.iter().position(|byte| *byte == 0);
        &self.datapath[..end.unwrap_or(self.datapath.len())]
    }

    pub fn eth_type(&self) -> u16 {
        u16::from_be_bytes(self.eth_type)
    }

    /// Source and destination, if they are known.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        if self.folded {
            return None;
        }
        let v4 = |bytes: &[u8; 16]| IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]);
        match self.eth_type() {
            ETH_P_IP | ETH_P_ARP | ETH_P_RARP => Some((v4(&self.src), v4(&self.dst))),
            ETH_P_IPV6 => Some((self.src.into(), self.dst.into())),
            _ => None,
        }
    }

    /// The protocol: `tcp`, `arp`, `ip proto 47`, or the EtherType.
    pub fn protocol(&self) -> Protocol {
        Protocol {
            eth_type: self.eth_type(),
            proto: self.proto,
        }
    }
}

/// The protocol of a packet, as far as its flow key has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    eth_type: u16,
    /// Of IP.
    proto: u8,
}

/// As tcpdump's filters call it where they have a word: `tcp`, `icmp6`, `arp`.
impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.eth_type, self.proto) {
            (0, _) => f.write_str("unknown"),
            (ETH_P_IPV6, IPPROTO_ICMPV6) => f.write_str("icmp6"),
            (ETH_P_IP | ETH_P_IPV6, proto) => match names::ip_proto(proto) {
                Some(name) => f.write_str(name),
                None => write!(f, "ip proto {proto}"),
            },
            (eth_type, _) => match names::ether_type(eth_type) {
                Some(name) => f.write_str(&name.to_ascii_lowercase()),
                None => write!(f, "{eth_type:#06x}"),
            },
        }
    }
}

/// Upcalls by flow, in memory that is bounded by the number of flows that are counted separately.
#[derive(Debug, Default)]
pub struct Flows {
    counts: HashMap<Flow, u64>,
    /// Upcalls of which no flow is known.
    unknown: u64,
}

impl Flows {
    pub fn add(&mut self, flow: &Flow, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(known) = self.counts.get_mut(flow) {
            *known += count;
            return;
        }
        let flow = if flow.folded || self.counts.len() < MAX_FLOWS {
            *flow
        } else {
            flow.without_addresses()
        };
        *self.counts.entry(flow).or_default() += count;
    }

    pub fn add_unknown(&mut self, count: u64) {
        self.unknown += count;
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.unknown
    }

    /// Upcalls of which no flow is known.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Upcalls that were counted without their addresses, because there were too many flows.
    pub fn folded(&self) -> u64 {
        let folded = self.counts.iter().filter(|(flow, _)| flow.folded);
        folded.map(|(_, count)| count).sum()
    }

    /// How many upcalls each value of something has, the most first.
    pub fn by<T: Eq + std::hash::Hash + Ord>(&self, of: impl Fn(&Flow) -> T) -> Vec<(T, u64)> {
        let mut sums = HashMap::new();
        for (flow, count) in &self.counts {
            *sums.entry(of(flow)).or_default() += count;
        }
        let mut sums: Vec<(T, u64)> = sums.into_iter().collect();
        sums.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        sums
    }

    /// The `count` sources of upcalls that explain the most of them.
    pub fn top(&self, count: usize) -> Vec<Source> {
        let mut pairs = HashMap::new();
        for (flow, count) in &self.counts {
            let pair = (Place::of(flow), flow.src, flow.dst);
            pairs.entry(pair).or_insert((0, *flow)).0 += count;
        }
        let mut pairs: Vec<(u64, Flow)> = pairs.into_values().collect();
        // So that equal counts are in the same order each time.
        pairs.sort_unstable();
        let mut top = Vec::new();
        while top.len() < count
            && let Some(source) = next_source(&pairs)
        {
            pairs.retain(|(_, flow)| !source.has(flow));
            top.push(source);
        }
        top
    }

    pub fn clear(&mut self) {
        self.counts.clear();
        self.unknown = 0;
    }
}

/// Where packets come in, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    target: u32,
    port: Option<u32>,
    protocol: Protocol,
    folded: bool,
}

impl Place {
    fn of(flow: &Flow) -> Self {
        Self {
            target: flow.target,
            port: flow.port,
            protocol: flow.protocol(),
            folded: flow.folded,
        }
    }
}

/// Packets from one port, of one protocol, which have their source or destination or both in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub count: u64,
    /// One of the flows. All of them have these properties in common.
    pub flow: Flow,
    /// How many sources they have, and how many destinations; one of them is 1.
    pub sources: usize,
    pub destinations: usize,
}

impl Source {
    fn has(&self, flow: &Flow) -> bool {
        Place::of(flow) == Place::of(&self.flow)
            && (self.sources > 1 || flow.src == self.flow.src)
            && (self.destinations > 1 || flow.dst == self.flow.dst)
    }
}

/// What explains the most of `pairs`: one pair of addresses; or all of a source or of a destination, if no pair has
/// half of it.
fn next_source(pairs: &[(u64, Flow)]) -> Option<Source> {
    /// What several pairs have in common.
    #[derive(Clone, Copy)]
    struct Group {
        count: u64,
        pairs: usize,
        largest: (u64, Flow),
    }
    let mut by_source: HashMap<(Place, [u8; 16]), Group> = HashMap::new();
    let mut by_destination: HashMap<(Place, [u8; 16]), Group> = HashMap::new();
    for pair in pairs {
        let (count, flow) = pair;
        let place = Place::of(flow);
        for (groups, address) in [(&mut by_source, flow.src), (&mut by_destination, flow.dst)] {
            let group = groups.entry((place, address)).or_insert(Group {
                count: 0,
                pairs: 0,
                largest: *pair,
            });
            group.count += count;
            group.pairs += 1;
            if pair.0 >= group.largest.0 {
                group.largest = *pair;
            }
        }
    }
    let largest = |groups: &HashMap<_, Group>| {
        let order = |group: &&Group| {
            (
                group.count,
                group.largest.0,
                group.largest.1.src,
                group.largest.1.dst,
            )
        };
        groups.values().max_by_key(order).copied()
    };
    let (source, destination) = (largest(&by_source)?, largest(&by_destination)?);
    let (group, from_one) = if source.count >= destination.count {
        (source, true)
    } else {
        (destination, false)
    };
    let whole = group.largest.0 * 2 < group.count;
    let several = |many: bool| if whole && many { group.pairs } else { 1 };
    Some(Source {
        count: if whole { group.count } else { group.largest.0 },
        flow: group.largest.1,
        sources: several(!from_one),
        destinations: several(from_one),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovs::packet::Link;
    use crate::trace::captured::Captured;

    fn v4(bytes: [u8; 4]) -> IpAddr {
        bytes.into()
    }

    fn flow(src: [u8; 4], dst: [u8; 4], tid: u32) -> Flow {
        let mut flow = Flow::of(&Upcall {
            datapath: b"system@ovs-system",
            tid,
            ..Upcall::default()
        });
        flow.port = Some(3);
        flow.eth_type = ETH_P_IP.to_be_bytes();
        flow.proto = 6;
        flow.set_v4(src, dst);
        flow
    }

    fn flows(counts: &[(Flow, u64)]) -> Flows {
        let mut flows = Flows::default();
        for (flow, count) in counts {
            flows.add(flow, *count);
        }
        flows
    }

    /// Check that the flow of a key is that of its innermost frame. The key is the one that fixtures/standin's VLAN
    /// packet has, made by hand from linux/openvswitch.h: in_port 5, 802.1Q, UDP from 10.0.0.1 to 10.0.0.2.
    #[test]
    fn of_a_key() {
        let mut key = Vec::new();
        let mut attribute = |kind: u16, payload: &[u8]| {
            key.extend_from_slice(&(payload.len() as u16 + 4).to_ne_bytes());
            key.extend_from_slice(&kind.to_ne_bytes());
            key.extend_from_slice(payload);
            key.resize(key.len().next_multiple_of(4), 0);
        };
        attribute(3, &5u32.to_ne_bytes());
        attribute(4, &[2; 12]);
        attribute(6, &[0x81, 0x00]);
        attribute(5, &[0x10, 0x64]);
        let inner = {
            let mut inner = vec![6, 0, 6, 0, 0x08, 0x00, 0, 0];
            inner.extend_from_slice(&[16, 0, 7, 0, 10, 0, 0, 1, 10, 0, 0, 2, 17, 0, 64, 0]);
            inner
        };
        attribute(1, &inner);
        let flow = Flow::of(&Upcall {
            key: Captured {
                len: key.len() as u32,
                bytes: &key,
                error: None,
            },
            datapath: b"system@ovs-system",
            tid: 77,
            kind: 1,
            ..Upcall::default()
        });
        assert_eq!(flow.datapath(), b"system@ovs-system");
        assert_eq!((flow.port, flow.tid, flow.kind), (Some(5), 77, 1));
        assert_eq!(flow.protocol().to_string(), "udp");
        assert_eq!(
            flow.addresses(),
            Some((v4([10, 0, 0, 1]), v4([10, 0, 0, 2])))
        );
    }

    /// Check that the flow of a key is the same whether or not the packet has an Ethernet header. The key is made by hand:
    /// in_port 5, EtherType, IPv6 with ICMPv6.
    #[test]
    fn of_a_key_without_ethernet() {
        let ipv6 = [&[0xfe; 16][..], &[0xfd; 16], &[0, 0, 0, 0, 58, 0, 64, 0]].concat();
        let key = [
            &[8, 0, 3, 0, 5, 0, 0, 0][..],
            &[6, 0, 6, 0, 0x86, 0xdd, 0, 0],
            &[44, 0, 8, 0],
            &ipv6,
        ]
        .concat();
        let upcall = Upcall {
            key: Captured {
                len: key.len() as u32,
                bytes: &key,
                error: None,
            },
            ..Upcall::default()
        };
        let flow = Flow::of(&upcall);
        assert_eq!(upcall.link(), Link::Network(ETH_P_IPV6));
        assert_eq!(flow.protocol().to_string(), "icmp6");
        let addresses = (IpAddr::from([0xfe; 16]), IpAddr::from([0xfd; 16]));
        assert_eq!((flow.port, flow.addresses()), (Some(5), Some(addresses)));
    }

    /// Check that the largest number of a port is one of a port in a key, and none of a port in the kernel's counts.
    #[test]
    fn the_largest_port_number() {
        let key = [8, 0, 3, 0, 0xff, 0xff, 0xff, 0xff];
        let key = |len| Upcall {
            key: Captured {
                len: 8,
                bytes: &key[..len],
                error: None,
            },
            ..Upcall::default()
        };
        assert_eq!(Flow::of(&key(8)).port, Some(u32::MAX));
        assert_eq!(Flow::of(&key(7)).port, None);
        let mut id = [0; size_of::<FlowId>()];
        let port = offset_of!(FlowId, from.port);
        id[port..port + 4].copy_from_slice(&[0xff; 4]);
        assert_eq!(Flow::from_flow_id(&id).unwrap().port, None);
        id[port] = 0xfe;
        let flow = Flow::from_flow_id(&id).unwrap();
        assert_eq!(
            flow.port,
            Some(u32::from_ne_bytes([0xfe, 0xff, 0xff, 0xff]))
        );
        assert_eq!(Flow::from_flow_id(&id[1..]), None);
    }

    /// Check that a place of the table is read as a key of the hash map is, and only if its flow is complete.
    #[test]
    fn place_of_a_flow() {
        let mut flow = vec![0; size_of::<CountedFlow>()];
        flow[8..12].copy_from_slice(&77u32.to_ne_bytes());
        let from = offset_of!(CountedFlow, from);
        flow[from..from + 4].copy_from_slice(&3u32.to_ne_bytes());
        let place = |ready: u64| {
            let mut place = vec![];
            for word in [1, ready, 19] {
                place.extend(u64::to_ne_bytes(word));
            }
            place.extend(&flow);
            place.resize(size_of::<FlowPlace>(), 0);
            place
        };
        assert_eq!(Flow::from_flow_place(&place(0)), None);
        assert_eq!(Flow::from_flow_place(&place(1)[8..]), None);
        let (read, count) = Flow::from_flow_place(&place(1)).unwrap();
        assert_eq!((read.tid, read.port, count), (77, Some(3), 19));
        assert_eq!(Flow::from_counted_flow(&flow), Some(read));
    }

    /// Check that sums by one thing hold all upcalls, the most first.
    #[test]
    fn sums() {
        let flows = flows(&[
            (flow([10, 0, 0, 1], [10, 0, 0, 2], 7), 5),
            (flow([10, 0, 0, 3], [10, 0, 0, 2], 8), 9),
            (flow([10, 0, 0, 1], [10, 0, 0, 4], 7), 1),
        ]);
        assert_eq!(flows.by(|flow| flow.tid), [(8, 9), (7, 6)]);
        assert_eq!(flows.total(), 15);
    }

    /// Check that a scan of ports is one line, a scan of addresses is one, and a flood from many addresses is one.
    #[test]
    fn scans() {
        let mut counts = vec![(flow([10, 0, 0, 1], [10, 0, 0, 2], 7), 1000)];
        for n in 0..200 {
            counts.push((flow([10, 0, 1, 1], [10, 9, 0, n], 7), 4));
            counts.push((flow([10, 8, 0, n], [10, 0, 2, 2], 7), 3));
        }
        counts.push((flow([10, 0, 0, 1], [10, 0, 0, 9], 8), 50));
        let top = flows(&counts).top(4);
        let rows: Vec<_> = top
            .iter()
            .map(|source| (source.count, source.sources, source.destinations))
            .collect();
        assert_eq!(
            rows,
            [(1000, 1, 1), (800, 1, 200), (600, 200, 1), (50, 1, 1)]
        );
        assert_eq!(top[0].flow.addresses().unwrap().1, v4([10, 0, 0, 2]));
        assert_eq!(top[1].flow.addresses().unwrap().0, v4([10, 0, 1, 1]));
        assert_eq!(top[2].flow.addresses().unwrap().1, v4([10, 0, 2, 2]));
    }

    /// Check that more flows than are counted separately are still counted, by all but their addresses.
    #[test]
    fn too_many() {
        let mut flows = Flows::default();
        let many = MAX_FLOWS as u32 + 1000;
        for n in 0..many {
            flows.add(&flow(n.to_be_bytes(), [10, 0, 0, 2], 7), 1);
        }
        assert_eq!(flows.total(), u64::from(many));
        assert_eq!(flows.folded(), 1000);
        assert_eq!(flows.by(|flow| flow.port), [(Some(3), u64::from(many))]);
    }
}
