//! Packets through each link type: what the decoder promises its visitor, that the beginning of a packet has the fields
//! of the whole, the text, and the crate etherparse, which shares nothing with ours.
//!
//! Input: four bytes of options, the packet.

#![no_main]

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};
use libfuzzer_sys::fuzz_target;
use ovs_tracers::ovs::packet::{Link, MAX_LAYERS, Stop, Value, Visitor, decode, show};
use ovs_tracers_fuzz::head;

/// The first layer with its name and one of its fields.
type Field = (&'static str, &'static str, String);

/// What the decoder says, held against what [`Visitor`] promises.
#[derive(Default)]
struct Log {
    fields: Vec<Field>,
    open: Vec<&'static str>,
    layers: usize,
    lists: usize,
    stops: usize,
}

impl Visitor for Log {
    fn layer(&mut self, name: &'static str, depth: usize) {
        assert_eq!(self.stops, 0, "{name} behind the end");
        if self.lists == 0 {
            assert_eq!(depth, self.layers, "{name}");
            self.layers += 1;
        }
        self.open.truncate(self.lists);
        self.open.push(name);
    }

    fn field(&mut self, name: &'static str, value: Value<'_>) {
        let layer = self.open.last().expect("a field is in a layer");
        if !matches!(
            value,
            Value::Bytes(_) | Value::TcpOptions(_) | Value::Ipv4List(_) | Value::Ipv6List(_)
        ) {
            self.fields.push((layer, name, format!("{value:?}")));
        }
    }

    fn begin(&mut self, name: &'static str) {
        assert!(self.open.len() > self.lists, "{name} is in a layer");
        self.lists += 1;
    }

    fn end(&mut self) {
        self.open.truncate(self.lists);
        self.lists = self.lists.checked_sub(1).expect("a list is open");
    }

    fn stop(&mut self, _: Stop) {
        assert_eq!(self.lists, 0, "all lists are closed at the end");
        self.stops += 1;
    }
}

fn log(packet: &[u8], original_len: usize, link: Link) -> Log {
    let mut log = Log::default();
    decode(packet, original_len, link, &mut log);
    assert_eq!(log.lists, 0, "all lists are closed");
    assert!(log.stops <= 2 && log.layers <= 2 * MAX_LAYERS + 2);
    log
}

/// What etherparse finds behind an Ethernet header that has nothing but VLAN tags between it and IP.
fn by_etherparse(packet: &[u8]) -> Vec<Field> {
    let int = |value: u32| format!("{:?}", Value::Int(value.into()));
    let mut fields = Vec::new();
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(packet) else {
        return fields;
    };
    let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link else {
        return fields;
    };
    // An LLC frame, in which etherparse sees no other layers.
    if ethernet.ether_type().0 < 0x600 {
        return fields;
    }
    let mac = |address| format!("{:?}", Value::Mac(address));
    fields.push(("Ethernet", "dst", mac(ethernet.destination())));
    fields.push(("Ethernet", "src", mac(ethernet.source())));
    if !sliced.link_exts.is_empty() {
        return fields;
    }
    // It goes by the version, whatever the EtherType says.
    let ether_type = ethernet.ether_type().0;
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(_)) if ether_type != 0x0800 => return fields,
        Some(LaxNetSlice::Ipv6(_)) if ether_type != 0x86dd => return fields,
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let address = |address| format!("{:?}", Value::Ipv4(address));
            fields.push(("IP", "len", int(header.total_len().into())));
            fields.push(("IP", "id", int(header.identification().into())));
            fields.push(("IP", "ttl", int(header.ttl().into())));
            fields.push(("IP", "src", address(header.source())));
            fields.push(("IP", "dst", address(header.destination())));
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let address = |address| format!("{:?}", Value::Ipv6(address));
            fields.push(("IPv6", "tc", int(header.traffic_class().into())));
            fields.push(("IPv6", "fl", int(header.flow_label().value())));
            fields.push(("IPv6", "plen", int(header.payload_length().into())));
            fields.push(("IPv6", "hlim", int(header.hop_limit().into())));
            fields.push(("IPv6", "src", address(header.source())));
            fields.push(("IPv6", "dst", address(header.destination())));
        }
        _ => return fields,
    }
    // Of extension headers the two have different notions of where they end.
    let direct = match &sliced.net {
        // Nor of a length that is too short for the header, in which etherparse does not believe.
        Some(LaxNetSlice::Ipv4(ip))
            if usize::from(ip.header().total_len()) < ip.header().slice().len() =>
        {
            false
        }
        Some(LaxNetSlice::Ipv6(ip)) if ip.header().payload_length() == 0 => false,
        Some(LaxNetSlice::Ipv4(ip)) => ip.extensions().auth.is_none(),
        Some(LaxNetSlice::Ipv6(ip)) => ip.extensions().slice().is_empty(),
        _ => false,
    };
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) if direct => {
            fields.push(("UDP", "sport", int(udp.source_port().into())));
            fields.push(("UDP", "dport", int(udp.destination_port().into())));
            fields.push(("UDP", "len", int(udp.length().into())));
        }
        Some(TransportSlice::Tcp(tcp)) if direct => {
            fields.push(("TCP", "sport", int(tcp.source_port().into())));
            fields.push(("TCP", "dport", int(tcp.destination_port().into())));
            fields.push(("TCP", "seq", int(tcp.sequence_number())));
            fields.push(("TCP", "ack", int(tcp.acknowledgment_number())));
            fields.push(("TCP", "dataofs", int(tcp.data_offset().into())));
            fields.push(("TCP", "window", int(tcp.window_size().into())));
        }
        _ => {}
    }
    fields
}

fuzz_target!(|data: &[u8]| {
    let Some(([options, cut, high, low], packet)) = head(data) else {
        return;
    };
    let link = match options % 4 {
        0 | 1 => Link::Ethernet,
        2 => Link::Network(u16::from_be_bytes([high, low])),
        _ => Link::Unknown,
    };
    let original_len = packet.len() + usize::from(options >> 2);
    let whole = log(packet, original_len, link);
    let mut out = Vec::new();
    show(packet, original_len, link, &mut out, 2).expect("a Vec takes everything");
    let text = String::from_utf8(out).expect("text is UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );

    // What is cut is never decoded into a value that the whole packet does not have.
    let part = &packet[..usize::from(cut).min(packet.len())];
    let found = log(part, original_len, link);
    for (index, (_, field, value)) in found.fields.iter().enumerate() {
        let whole = whole
            .fields
            .get(index)
            .map(|(_, field, value)| (field, value));
        assert_eq!(Some((field, value)), whole);
    }
    if link == Link::Ethernet && original_len == packet.len() {
        for field in by_etherparse(packet) {
            assert!(
                whole.fields.contains(&field),
                "{field:?} not in {:?}",
                whole.fields
            );
        }
    }
});
