//! What the decoder says of a packet.
#![allow(dead_code)] // each test file uses its own part

use ovs_tracers::ovs::packet::{Link, Stop, Value, Visitor, decode, show};

use crate::packets::{kinds, vectors};

pub fn text(packet: &[u8], original_len: usize) -> String {
    let mut out = Vec::new();
    show(packet, original_len, Link::Ethernet, &mut out, 0).unwrap();
    String::from_utf8(out).unwrap()
}

/// The name, the bytes and the whole length of every packet there is.
pub fn all() -> Vec<(&'static str, &'static [u8], usize)> {
    let vectors = vectors()
        .iter()
        .map(|it| (&*it.name, &*it.bytes, it.original_len));
    let kinds = kinds()
        .iter()
        .map(|it| (&*it.name, &*it.bytes, it.bytes.len()));
    vectors.chain(kinds).collect()
}

/// Everything a decoder said, checked against the grammar that [`Visitor`] promises.
#[derive(Default)]
pub struct Log {
    /// Fields with one number or address, by layer. Where bytes or lists stand, a cut leaves a part
    /// of them.
    pub fields: Vec<(&'static str, &'static str, String)>,
    /// The current layer, preceded by those whose lists are open.
    open: Vec<&'static str>,
    /// Layers that are in no list.
    pub layers: usize,
    pub lists: usize,
    pub stops: Vec<Stop>,
    /// What a `Raw` that is in no list is in.
    pub around_raw: Option<&'static str>,
}

impl Visitor for Log {
    fn layer(&mut self, name: &'static str, depth: usize) {
        assert!(self.stops.is_empty(), "{name} behind the end");
        if self.lists == 0 {
            assert_eq!(depth, self.layers, "depth of {name}");
            self.layers += 1;
            if name == "Raw" {
                self.around_raw = self.open.first().copied();
            }
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

pub fn log(packet: &[u8], original_len: usize) -> Log {
    let mut log = Log::default();
    decode(packet, original_len, Link::Ethernet, &mut log);
    assert_eq!(log.lists, 0, "all lists are closed");
    log
}

/// The layers whose `Raw` is data or means nothing, and needs no reason: their names begin so.
const DATA: [&str; 9] = [
    "TCP", "UDP", "ICMP", "MLD", "IGMP", "BFD", // Behind no next header.
    "IP",  // A tag list of no length.
    "PPPoE", "EAP",
];

/// Whether the decoder says why there are bytes that it does not explain, unless they are data.
pub fn says_why(log: &Log) -> bool {
    let no_next = |(_, field, value): &(_, &str, String)| {
        matches!(*field, "nh" | "proto") && (value.contains("No Next") || value.contains("nonxt"))
    };
    let is_data = |layer: &str| {
        DATA.iter().any(|name| layer.starts_with(name)) || log.fields.iter().any(no_next)
    };
    !log.stops.is_empty() || log.around_raw.is_none_or(is_data)
}
