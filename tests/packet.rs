//! Packets decoded and shown: against reviewed text, against another decoder, and with bytes that
//! mean nothing.

use std::io;

use etherparse::{
    LaxNetSlice, LaxSlicedPacket, LinkSlice, PacketBuilder, TcpOptionElement, TransportSlice,
};
use ovs_tracers::ovs::packet::{MAX_LAYERS, Stop, Value, Visitor, decode, show};
use proptest::prelude::*;

#[path = "common/packets.rs"]
mod packets;

use packets::{Vector, vectors};

fn text(packet: &[u8], original_len: usize) -> String {
    let mut out = Vec::new();
    show(packet, original_len, &mut out, 0).unwrap();
    String::from_utf8(out).unwrap()
}

/// Everything a decoder said, checked against the grammar that [`Visitor`] promises.
#[derive(Default)]
struct Log {
    /// Fields with one number or address, by layer. Where bytes or lists stand, a cut leaves a part
    /// of them.
    fields: Vec<(&'static str, &'static str, String)>,
    /// The current layer, preceded by those whose lists are open.
    open: Vec<&'static str>,
    /// Layers that are in no list.
    layers: usize,
    lists: usize,
    stops: Vec<Stop>,
}

impl Visitor for Log {
    fn layer(&mut self, name: &'static str, depth: usize) {
        assert!(self.stops.is_empty(), "{name} behind the end");
        if self.lists == 0 {
            assert_eq!(depth, self.layers, "depth of {name}");
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

    fn stop(&mut self, stop: Stop) {
        assert_eq!(self.lists, 0, "all lists are closed at the end");
        self.stops.push(stop);
    }
}

fn log(packet: &[u8], original_len: usize) -> Log {
    let mut log = Log::default();
    decode(packet, original_len, &mut log);
    assert_eq!(log.lists, 0, "all lists are closed");
    log
}

/// Check that every packet of the fixtures is shown as its reviewed text has it.
#[test]
fn shows_the_fixtures() {
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

/// Check that each beginning of a packet has the same fields as the whole, up to the cut, and that
/// the cut is said; and that a cut alone is no other reason to stop.
#[test]
fn cut_packets_keep_their_fields() {
    for Vector { name, bytes, .. } in vectors() {
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
        show(bytes, *original_len, &mut out, 4).unwrap();
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
        show(bytes, *original_len, &mut Full(text.len()), 0).unwrap();
        for room in 0..text.len() {
            let error = show(bytes, *original_len, &mut Full(room), 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}

/// What etherparse finds in a packet, as fields of ours.
fn etherparse_fields(packet: &[u8]) -> Vec<(&'static str, &'static str, String)> {
    let int = |value: u32| format!("{:?}", Value::Int(value.into()));
    let mut fields = Vec::new();
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(packet) else {
        return fields;
    };
    if let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link {
        let mac = |address| format!("{:?}", Value::Mac(address));
        fields.push(("Ethernet", "dst", mac(ethernet.destination())));
        fields.push(("Ethernet", "src", mac(ethernet.source())));
    }
    for vlan in sliced.vlan_ids() {
        fields.push(("802.1Q", "vlan", int(vlan.value().into())));
    }
    match &sliced.net {
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
        _ => {}
    }
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => {
            fields.push(("UDP", "sport", int(udp.source_port().into())));
            fields.push(("UDP", "dport", int(udp.destination_port().into())));
            fields.push(("UDP", "len", int(udp.length().into())));
        }
        Some(TransportSlice::Tcp(tcp)) => {
            fields.push(("TCP", "sport", int(tcp.source_port().into())));
            fields.push(("TCP", "dport", int(tcp.destination_port().into())));
            fields.push(("TCP", "seq", int(tcp.sequence_number())));
            fields.push(("TCP", "ack", int(tcp.acknowledgment_number())));
            fields.push(("TCP", "dataofs", int(tcp.data_offset().into())));
            fields.push(("TCP", "window", int(tcp.window_size().into())));
            fields.push(("TCP", "urgptr", int(tcp.urgent_pointer().into())));
        }
        _ => {}
    }
    fields
}

prop_compose! {
    fn built_packet()(
        (src, dst) in any::<([u8; 6], [u8; 6])>(),
        (ip_src, ip_dst) in any::<([u8; 16], [u8; 16])>(),
        (sport, dport, window) in any::<(u16, u16, u16)>(),
        (seq, ack, ttl) in any::<(u32, u32, u8)>(),
        (tcp, ipv6) in any::<(bool, bool)>(),
        vlan in prop::option::of(0u16..4096),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) -> Vec<u8> {
        let four = |address: [u8; 16]| *address.first_chunk::<4>().unwrap();
        let ethernet = PacketBuilder::ethernet2(src, dst);
        let builder = match (ipv6, vlan) {
            (false, None) => ethernet.ipv4(four(ip_src), four(ip_dst), ttl),
            (true, None) => ethernet.ipv6(ip_src, ip_dst, ttl),
            (false, Some(id)) => {
                let tagged = ethernet.single_vlan(id.try_into().unwrap());
                tagged.ipv4(four(ip_src), four(ip_dst), ttl)
            }
            (true, Some(id)) => {
                let tagged = ethernet.single_vlan(id.try_into().unwrap());
                tagged.ipv6(ip_src, ip_dst, ttl)
            }
        };
        let mut packet = Vec::new();
        if tcp {
            let mss = TcpOptionElement::MaximumSegmentSize(window);
            let options = [mss, TcpOptionElement::Timestamp(seq, ack)];
            let builder = builder.tcp(sport, dport, seq, window).ack(ack);
            let builder = builder.options(&options).unwrap();
            builder.write(&mut packet, &payload).unwrap();
        } else {
            builder.udp(sport, dport).write(&mut packet, &payload).unwrap();
        }
        packet
    }
}

proptest! {
    /// Check that any bytes, behind the beginning of a packet so that they mean something, are
    /// decoded and shown without a panic, to text that is whole lines.
    #[test]
    fn any_bytes_are_shown(
        choice: prop::sample::Index,
        len: prop::sample::Index,
        bytes: Vec<u8>,
        missing in 0usize..3,
    ) {
        let head = &choice.get(vectors()).bytes;
        let bytes = [&head[..len.index(head.len() + 1)], &bytes].concat();
        let original_len = bytes.len() + missing;
        prop_assert!(log(&bytes, original_len).stops.len() <= 2);
        let text = text(&bytes, original_len);
        prop_assert!(text.is_empty() || text.ends_with('\n'));
    }

    /// Check the same of packets of the fixtures with some bytes changed and the end cut off, which
    /// get deeper.
    #[test]
    fn damaged_packets_are_shown(
        choice: prop::sample::Index,
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..8),
        len: prop::sample::Index,
    ) {
        let mut bytes = choice.get(vectors()).bytes.clone();
        for (index, byte) in changes {
            let index = index.index(bytes.len() + 1);
            bytes.get_mut(index).into_iter().for_each(|old| *old = byte);
        }
        let len = len.index(bytes.len() + 1);
        for original_len in [bytes.len(), len] {
            prop_assert!(log(&bytes[..len], original_len).stops.len() <= 2);
            let text = text(&bytes[..len], original_len);
            prop_assert!(text.is_empty() || text.ends_with('\n'));
        }
    }

    /// Check that we find what etherparse, which is not ours, finds in what it builds: in the whole
    /// and in a part.
    #[test]
    fn agrees_with_etherparse(packet in built_packet(), len: prop::sample::Index) {
        let whole = etherparse_fields(&packet);
        prop_assert!(whole.len() >= 10, "{whole:?}");
        let part = &packet[..len.index(packet.len() + 1)];
        for (expected, captured) in [(whole, &packet[..]), (etherparse_fields(part), part)] {
            let found = log(captured, packet.len()).fields;
            for field in expected {
                prop_assert!(found.contains(&field), "{field:?} not in {found:?}");
            }
        }
    }
}
