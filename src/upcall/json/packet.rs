//! A packet as an array of its layers.

use std::borrow::Cow;

use crate::ovs::packet::{Link, Stop, TcpOptions, Value, Visitor, decode};
use crate::show::json::Line;

/// Writes `layers`, and `stopped` if not all of the packet was decoded.
///
/// A layer is an object: `layer`, its name, and its fields under their names. A field that is a list of layers is an
/// array of such objects. A name that occurs again in a layer has its number appended: `timestamp_2`.
pub(super) fn write(
    line: &mut Line,
    open: &mut Open,
    packet: &[u8],
    original_len: usize,
    link: Link,
) {
    open.names.clear();
    open.lists.clear();
    line.begin("layers", b'[');
    let mut layers = Layers {
        line,
        open,
        first: None,
        stops: [None; 2],
    };
    decode(packet, original_len, link, &mut layers);
    layers.close();
    let stops = layers.stops;
    line.end(b']');
    if stops[0].is_some() {
        line.begin("stopped", b'[');
        for stop in stops.iter().flatten() {
            line.begin_item(b'{');
            write_stop(line, *stop);
            line.end(b'}');
        }
        line.end(b']');
    }
}

/// What is open while a packet is written, kept from one to the next for its memory.
#[derive(Default)]
pub(super) struct Open {
    /// Names of the fields that the open layers have so far.
    names: Vec<&'static str>,
    /// What `first` is outside the open lists.
    lists: Vec<Option<usize>>,
}

struct Layers<'l> {
    line: &'l mut Line,
    open: &'l mut Open,
    /// Where in `names` the current layer begins, if one is open in the current list.
    first: Option<usize>,
    stops: [Option<Stop>; 2],
}

impl Layers<'_> {
    /// Ends the current layer.
    fn close(&mut self) {
        if let Some(first) = self.first.take() {
            self.open.names.truncate(first);
            self.line.end(b'}');
        }
    }

    /// The name of a new field of the current layer.
    fn name(&mut self, name: &'static str) -> Cow<'static, str> {
        let before = &self.open.names[self.first.unwrap_or_default()..];
        let times = before.iter().filter(|known| **known == name).count();
        self.open.names.push(name);
        match times {
            0 => Cow::Borrowed(name),
            _ => Cow::Owned(format!("{name}_{}", times + 1)),
        }
    }
}

impl Visitor for Layers<'_> {
    fn layer(&mut self, name: &'static str, _depth: usize) {
        self.close();
        self.first = Some(self.open.names.len());
        self.line.begin_item(b'{');
        self.line.field("layer", name);
    }

    fn field(&mut self, name: &'static str, value: Value<'_>) {
        let name = &*self.name(name);
        let line = &mut *self.line;
        match value {
            Value::Int(number) | Value::Hex(number) => line.field(name, number),
            Value::Name { value, name: known } => {
                line.field(name, value);
                line.name_of(name, "_name");
                line.value(known);
            }
            Value::Flags { value, names, .. } => {
                line.field(name, value);
                line.name_of(name, "_names");
                let bits = (0..).map(|bit| 1 << bit);
                line.bits(value, bits.zip(names.iter().copied()));
            }
            Value::Mac(_) | Value::Ipv4(_) | Value::Ipv6(_) => line.address(name, value),
            Value::Ipv4List(addresses) => {
                line.begin(name, b'[');
                for address in addresses {
                    line.address_item(Value::Ipv4(*address));
                }
                line.end(b']');
            }
            Value::Ipv6List(addresses) => {
                line.begin(name, b'[');
                for address in addresses {
                    line.address_item(Value::Ipv6(*address));
                }
                line.end(b']');
            }
            Value::Bytes(bytes) => line.base64(name, bytes),
            Value::TcpOptions(options) => tcp_options(line, name, options),
        }
    }

    fn begin(&mut self, name: &'static str) {
        let name = self.name(name);
        self.line.begin(&name, b'[');
        self.open.lists.push(self.first.take());
    }

    fn end(&mut self) {
        self.close();
        self.line.end(b']');
        self.first = self.open.lists.pop().flatten();
    }

    fn stop(&mut self, stop: Stop) {
        if let Some(free) = self.stops.iter_mut().find(|stop| stop.is_none()) {
            *free = Some(stop);
        }
    }
}

/// An array of objects: `kind`, `name` if there is one, and the value as `numbers` or `bytes` if there is one.
fn tcp_options(line: &mut Line, name: &str, options: TcpOptions<'_>) {
    line.begin(name, b'[');
    for option in options {
        line.begin_item(b'{');
        line.field("kind", option.kind);
        if let Some(name) = option.name {
            line.field("kind_name", name);
        }
        if let Some(numbers) = option.numbers() {
            line.begin("numbers", b'[');
            for number in numbers {
                line.value(number);
            }
            line.end(b']');
        } else if let Some(bytes) = option.value {
            line.base64("bytes", bytes);
        }
        line.end(b'}');
    }
    line.end(b']');
}

fn write_stop(line: &mut Line, stop: Stop) {
    match stop {
        Stop::Cut {
            layer,
            captured,
            original,
        } => {
            line.field("why", "cut");
            line.field("layer", layer);
            line.field("captured", captured);
            line.field("length", original);
        }
        Stop::Short { layer } => {
            line.field("why", "short");
            line.field("layer", layer);
        }
        Stop::Invalid {
            layer,
            field,
            value,
        } => {
            line.field("why", "invalid");
            line.field("layer", layer);
            line.field("field", field);
            line.field("value", value);
        }
        Stop::Undecoded {
            layer,
            field,
            value,
            name,
        } => {
            line.field("why", "undecoded");
            line.field("layer", layer);
            line.field("field", field);
            if let Value::Int(value) | Value::Hex(value) = value {
                line.field("value", value);
            }
            if let Some(name) = name {
                line.field("value_name", name);
            }
        }
        Stop::Encrypted { layer } => {
            line.field("why", "encrypted");
            line.field("layer", layer);
        }
        Stop::Fragment { layer } => {
            line.field("why", "fragment");
            line.field("layer", layer);
        }
        Stop::TooDeep => line.field("why", "too_deep"),
        Stop::UnknownLink => line.field("why", "unknown_link"),
    }
}
