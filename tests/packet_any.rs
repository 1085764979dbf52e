//! Packets decoded and shown, against another decoder, with bytes that mean nothing, and damaged.

use etherparse::{
    LaxNetSlice, LaxSlicedPacket, LinkSlice, PacketBuilder, TcpOptionElement, TransportSlice,
};
use ovs_tracers::ovs::packet::{MAX_LAYERS, Value};
use proptest::prelude::*;

#[path = "common/packet_log.rs"]
mod packet_log;
#[path = "common/packets.rs"]
mod packets;

use packet_log::{all, log, says_why, text};

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
        let (_, head, _) = *choice.get(&all());
        let bytes = [&head[..len.index(head.len() + 1)], &bytes].concat();
        let original_len = bytes.len() + missing;
        let log = log(&bytes, original_len);
        prop_assert!(log.stops.len() <= 2);
        prop_assert!(log.layers <= 2 * MAX_LAYERS + 2);
        prop_assert!(says_why(&log), "{:?}", log.around_raw);
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
        let mut bytes = choice.get(&all()).1.to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len() + 1);
            bytes.get_mut(index).into_iter().for_each(|old| *old = byte);
        }
        let len = len.index(bytes.len() + 1);
        for original_len in [bytes.len(), len] {
            let log = log(&bytes[..len], original_len);
            prop_assert!(log.stops.len() <= 2);
            prop_assert!(log.layers <= 2 * MAX_LAYERS + 2);
            prop_assert!(says_why(&log), "{:?}", log.around_raw);
            let text = text(&bytes[..len], original_len);
            prop_assert!(text.is_empty() || text.ends_with('\n'));
        }
    }

    /// Check of packets with some bytes changed that each beginning of them has the same fields as the whole: what is
    /// cut is never decoded into a value that the whole packet does not have.
    #[test]
    fn cut_and_damaged_packets_keep_their_fields(
        choice: prop::sample::Index,
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4),
    ) {
        let mut bytes = choice.get(&all()).1.to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len() + 1);
            bytes.get_mut(index).into_iter().for_each(|old| *old = byte);
        }
        let whole = log(&bytes, bytes.len());
        for len in 0..bytes.len() {
            let found = log(&bytes[..len], bytes.len());
            for (index, (_, field, value)) in found.fields.iter().enumerate() {
                let whole = whole.fields.get(index).map(|(_, field, value)| (field, value));
                prop_assert_eq!(Some((field, value)), whole, "cut to {}", len);
            }
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
