//! Flow keys in every form of output, with and without a mask, and their attributes against those that the crate
//! `netlink-bindings` finds, which is made from the kernel's own specification.
//!
//! Input: a byte of options, two of the key's length, key, mask.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netlink_bindings::ovs_flow::{KeyAttrs, TunnelKeyAttrs};
use ovs_tracers::ovs::flow_key::{
    self, Attribute, Key, TunnelKey, attributes, beside_odp, nlraw, odp, odp_masked,
};
use ovs_tracers::run::recording::Start;
use ovs_tracers::trace::captured::Captured;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::json::Json;
use ovs_tracers::upcall::record::RECORDS;
use ovs_tracers::upcall::text::PacketDecode;
use ovs_tracers_fuzz::{attribute, check_odp, head, parse, port_name, text};

/// The attributes that both readers find: the other passes over a type that it does not know, and ends where it cannot
/// decode one.
fn both<'a, 'b, T>(
    ours: impl Iterator<Item = Attribute<'a>>,
    theirs: impl IntoIterator<Item = Result<T, netlink_bindings::utils::ErrorContext>>,
    known: std::ops::RangeInclusive<u16>,
) -> impl Iterator<Item = (Attribute<'a>, T)> {
    let ours = ours.filter(move |attribute| known.contains(&attribute.kind));
    ours.zip(theirs.into_iter().map_while(Result::ok))
}

/// Both readers say the same of an attribute that both decode.
fn compare(ours: &Attribute<'_>, theirs: &KeyAttrs<'_>) {
    let bytes = |parts: &[&[u8]]| parts.concat();
    let (ours, theirs) = match (ours.key(), theirs) {
        (Key::Priority(a), KeyAttrs::Priority(b))
        | (Key::InPort(a), KeyAttrs::InPort(b))
        | (Key::SkbMark(a), KeyAttrs::SkbMark(b))
        | (Key::DpHash(a), KeyAttrs::DpHash(b))
        | (Key::RecircId(a), KeyAttrs::RecircId(b))
        | (Key::CtState(a), KeyAttrs::CtState(b))
        | (Key::CtMark(a), KeyAttrs::CtMark(b)) => (a.to_ne_bytes().into(), b.to_ne_bytes().into()),
        (Key::Vlan(a), KeyAttrs::Vlan(b))
        | (Key::EtherType(a), KeyAttrs::Ethertype(b))
        | (Key::TcpFlags(a), KeyAttrs::TcpFlags(b))
        | (Key::CtZone(a), KeyAttrs::CtZone(b)) => (a.to_ne_bytes().into(), b.to_ne_bytes().into()),
        (Key::Ethernet(a), KeyAttrs::Ethernet(b)) => {
            (bytes(&[&a.src, &a.dst]), bytes(&[&b.eth_src, &b.eth_dst]))
        }
        (Key::Ipv4(a), KeyAttrs::Ipv4(b)) => (
            bytes(&[&a.src, &a.dst, &[a.proto, a.tos, a.ttl, a.frag]]),
            bytes(&[
                &b.ipv4_src().to_be_bytes(),
                &b.ipv4_dst().to_be_bytes(),
                &[b.ipv4_proto, b.ipv4_tos, b.ipv4_ttl, b.ipv4_frag],
            ]),
        ),
        (Key::Ipv6(a), KeyAttrs::Ipv6(b)) => (
            bytes(&[
                &a.src,
                &a.dst,
                &a.label.get().to_ne_bytes(),
                &[a.proto, a.tclass, a.hlimit, a.frag],
            ]),
            bytes(&[
                &b.ipv6_src,
                &b.ipv6_dst,
                &b.ipv6_label().to_ne_bytes(),
                &[b.ipv6_proto, b.ipv6_tclass, b.ipv6_hlimit, b.ipv6_frag],
            ]),
        ),
        (Key::Tcp(a), KeyAttrs::Tcp(b)) => (
            bytes(&[&a.src.get().to_ne_bytes(), &a.dst.get().to_ne_bytes()]),
            bytes(&[&b.tcp_src().to_ne_bytes(), &b.tcp_dst().to_ne_bytes()]),
        ),
        (Key::Udp(a), KeyAttrs::Udp(b)) => (
            bytes(&[&a.src.get().to_ne_bytes(), &a.dst.get().to_ne_bytes()]),
            bytes(&[&b.udp_src().to_ne_bytes(), &b.udp_dst().to_ne_bytes()]),
        ),
        (Key::Icmp(a), KeyAttrs::Icmp(b)) | (Key::Icmpv6(a), KeyAttrs::Icmpv6(b)) => {
            (vec![a.kind, a.code], vec![b.icmp_type, b.icmp_code])
        }
        (Key::Arp(a), KeyAttrs::Arp(b)) => (
            bytes(&[&a.sip, &a.tip, &a.op.get().to_ne_bytes(), &a.sha, &a.tha]),
            bytes(&[
                &b.arp_sip().to_be_bytes(),
                &b.arp_tip().to_be_bytes(),
                &b.arp_op().to_ne_bytes(),
                &b.arp_sha,
                &b.arp_tha,
            ]),
        ),
        (Key::Nd(a), KeyAttrs::Nd(b)) => (
            bytes(&[&a.target, &a.sll, &a.tll]),
            bytes(&[&b.nd_target, &b.nd_sll, &b.nd_tll]),
        ),
        (Key::CtLabels(a), KeyAttrs::CtLabels(b)) => (a.to_ne_bytes().into(), b.to_vec()),
        (Key::CtTuple4(a), KeyAttrs::CtOrigTupleIpv4(b)) => (
            bytes(&[
                &a.src,
                &a.dst,
                &a.src_port.get().to_ne_bytes(),
                &a.dst_port.get().to_ne_bytes(),
                &[a.proto],
            ]),
            bytes(&[
                &b.ipv4_src().to_be_bytes(),
                &b.ipv4_dst().to_be_bytes(),
                &b.src_port().to_ne_bytes(),
                &b.dst_port().to_ne_bytes(),
                &[b.ipv4_proto],
            ]),
        ),
        (Key::Tunnel(ours), KeyAttrs::Tunnel(theirs)) => {
            for (ours, theirs) in both(ours, *theirs, 0..=16) {
                tunnel(&ours, &theirs);
            }
            return;
        }
        (Key::Encap(ours), KeyAttrs::Encap(theirs)) => {
            for (ours, theirs) in both(ours, *theirs, 1..=32) {
                compare(&ours, &theirs);
            }
            return;
        }
        _ => return,
    };
    assert_eq!(ours, theirs);
}

fn tunnel(ours: &Attribute<'_>, theirs: &TunnelKeyAttrs<'_>) {
    let (ours, theirs) = match (ours.tunnel_key(), theirs) {
        (TunnelKey::Id(a), TunnelKeyAttrs::Id(b)) => (a, *b),
        (TunnelKey::Ipv4Src(a), TunnelKeyAttrs::Ipv4Src(b))
        | (TunnelKey::Ipv4Dst(a), TunnelKeyAttrs::Ipv4Dst(b)) => {
            (u32::from_be_bytes(a).into(), (*b).into())
        }
        (TunnelKey::Tos(a), TunnelKeyAttrs::Tos(b))
        | (TunnelKey::Ttl(a), TunnelKeyAttrs::Ttl(b)) => (a.into(), (*b).into()),
        (TunnelKey::TpSrc(a), TunnelKeyAttrs::TpSrc(b))
        | (TunnelKey::TpDst(a), TunnelKeyAttrs::TpDst(b)) => (a.into(), (*b).into()),
        (TunnelKey::Ipv6Src(a), TunnelKeyAttrs::Ipv6Src(b))
        | (TunnelKey::Ipv6Dst(a), TunnelKeyAttrs::Ipv6Dst(b)) => {
            assert_eq!(a, *b);
            return;
        }
        _ => return,
    };
    assert_eq!(ours, theirs);
}

fn check(key: &[u8]) {
    let mut walk = attributes(key);
    let mut count = 0;
    for attribute in walk.by_ref() {
        let payload = &key[attribute.at + 4..][..attribute.payload.len()];
        assert_eq!(attribute.payload, payload);
        count += 1;
    }
    for (ours, theirs) in both(attributes(key), KeyAttrs::new(key), 1..=32) {
        compare(&ours, &theirs);
    }
    let stopped = walk.stopped().is_some();
    let lines = text(|out| nlraw(key, out));
    assert_eq!(lines.lines().count(), count + usize::from(stopped));
    check_odp(&text(|out| odp(key, out)));
    let beside = beside_odp(key);
    assert!(beside.not_for_trace.is_some() || !stopped);
    let _ = flow_key::in_port(key);
}

fn json(key: &[u8]) {
    let upcall = Upcall {
        key: Captured {
            len: key.len() as u32,
            bytes: key,
            error: None,
        },
        ..Upcall::default()
    };
    let mut out = Vec::new();
    let start = Start::new(&RECORDS);
    let mut json = Json::new(&mut out, PacketDecode::None, &start).expect("a Vec takes everything");
    let written = json.event(&upcall, None, None, port_name, 0);
    written.expect("a Vec takes everything");
    let line = out.split_inclusive(|byte| *byte == b'\n').nth(1);
    let value = parse(line.expect("two lines"));
    let count = attributes(key).count();
    if let Some(shown) = value["key"]["attributes"].as_array() {
        assert_eq!(shown.len(), count);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([options, low, high], rest)) = head(data) else {
        return;
    };
    let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
    let (key, mask) = rest.split_at(len);
    check(key);
    json(key);
    // The key in a flow, as in a request. Of either the end may be cut off.
    let cut = |kind, bytes: &[u8], less| {
        let mut attribute = attribute(kind, bytes);
        attribute.truncate(attribute.len().saturating_sub(less).max(4));
        attribute
    };
    let (key, mask) = (
        cut(1, key, options as usize >> 4),
        cut(7, mask, options as usize >> 2 & 3),
    );
    let key = attributes(&key).next().expect("a header");
    let mask = attributes(&mask).next().filter(|_| options & 1 != 0);
    let verbose = options & 2 != 0;
    check_odp(&text(|out| {
        odp_masked(&key, mask.as_ref(), verbose, port_name, out)
    }));
});
