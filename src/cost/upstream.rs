//! Reads the event files of `upcall_cost.py` (`utilities/usdt-scripts` of Open vSwitch 2.17 and later).
//!
//! A line is an assignment in Python. `dp_port_map`, which comes first, has the number of each port by datapath and
//! device. Each `event` is a dictionary of integers and bytes. The last line may be `event_miss`, the number of lost
//! events by type. Packets and keys are whole arrays, whose first bytes, as many as the size says, belong to the event.
//! The other bytes, and the fields that an event of its type does not have, are what the ring buffer held before.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use super::event::{Event, KINDS, Kind, short_datapath};
use crate::bpf::record::c_str;
use crate::ovs::flow_key;
use crate::show::message::cause;
use crate::trace::captured::Captured;

/// How many bytes a line may have, which is far more than the script ever writes.
const MAX_LINE: u64 = 1 << 20;
/// How deep dictionaries may be nested.
const MAX_DEPTH: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read the events: {}", cause(.0))]
    Io(#[from] io::Error),
    #[error(
        "neither a recording nor a file of upcall_cost.py: it begins with neither OVSTRACE nor dp_port_map\n\
         -r reads what -w wrote"
    )]
    Foreign,
    #[error("the events were cut off in line {0}")]
    Cut(u64),
    #[error("the events are damaged in line {0}")]
    Damaged(u64),
}

/// Numbers of ports by datapath and device.
type Ports = HashMap<Vec<u8>, HashMap<Vec<u8>, u32>>;

/// One item of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Event(Event<'a>),
    /// How many events of each kind were lost.
    Missed([u64; KINDS]),
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    /// The name of the field that is being read.
    name: Vec<u8>,
    event: u64,
    cpu: u64,
    pid: u64,
    ts: u64,
    pkt_frag_size: u64,
    pkt_size: u64,
    key_size: u64,
    comm: Vec<u8>,
    dpif_name: Vec<u8>,
    dev_name: Vec<u8>,
    pkt: Vec<u8>,
    key: Vec<u8>,
}

/// Reads a file line by line.
pub struct Reader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    ports: Ports,
    fields: Fields,
}

impl<R: BufRead> Reader<R> {
    /// Reads the file up to the map of ports.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut reader = Self {
            input,
            line: Vec::new(),
            number: 0,
            ports: HashMap::new(),
            fields: Fields::default(),
        };
        loop {
            match reader.next_line() {
                Ok(true) => {}
                Ok(false) | Err(Error::Cut(_) | Error::Damaged(_)) => return Err(Error::Foreign),
                Err(error) => return Err(error),
            }
            if let Some(value) = reader.line.strip_prefix(b"dp_port_map = ") {
                let ports = port_map(value);
                reader.ports = ports.ok_or(Error::Damaged(reader.number))?;
                return Ok(reader);
            }
        }
    }

    /// Reads a line without its end, and returns whether there is one.
    fn next_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        self.number += 1;
        let mut limited = self.input.by_ref().take(MAX_LINE);
        let read = limited.read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(false);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            let cut = (read as u64) < MAX_LINE;
            return Err(if cut {
                Error::Cut(self.number)
            } else {
                Error::Damaged(self.number)
            });
        }
        Ok(true)
    }

    /// Reads the next item; `None` at the end of the file. After an error nothing more can be read.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        loop {
            if !self.next_line()? {
                return Ok(None);
            }
            let damaged = Error::Damaged(self.number);
            if let Some(value) = self.line.strip_prefix(b"event = ") {
                if event(value, &mut self.fields).is_none() {
                    return Err(damaged);
                }
                let event = self.fields.event(&self.ports);
                return event.map(|event| Some(Item::Event(event))).ok_or(damaged);
            }
            if let Some(value) = self.line.strip_prefix(b"event_miss = ") {
                let missed = missed(value).ok_or(damaged)?;
                return Ok(Some(Item::Missed(missed)));
            }
        }
    }
}

impl Fields {
    /// Makes an event of the fields; `None` if its type is not known.
    fn event(&self, ports: &Ports) -> Option<Event<'_>> {
        let kind = *Kind::ALL
            .get(usize::try_from(self.event).ok()?)
            .filter(|kind| **kind != Kind::DpFailed)?;
        let mut event = Event {
            cpu: u32_of(self.cpu),
            // What the script calls the process is the thread.
            tid: u32_of(self.pid),
            comm: c_str(&self.comm),
            unfinished: true,
            ..Event::new(kind, self.ts)
        };
        fn captured(array: &[u8], size: u64) -> Captured<'_> {
            let len = usize::try_from(size).unwrap_or(usize::MAX);
            Captured {
                len: u32_of(size),
                bytes: &array[..len.min(array.len())],
                error: None,
            }
        }
        match kind {
            Kind::DpUpcall => {
                event.datapath = c_str(&self.dpif_name);
                event.device = c_str(&self.dev_name);
                event.packet = captured(&self.pkt, self.pkt_size);
                // The script copies only the first part of a packet in pages.
                if self.pkt_frag_size > 0 {
                    let linear = usize::try_from(self.pkt_frag_size).unwrap_or(usize::MAX);
                    let bytes = event.packet.bytes;
                    event.packet.bytes = &bytes[..linear.min(bytes.len())];
                }
                let devices = ports.get(short_datapath(event.datapath));
                event.port = devices
                    .and_then(|devices| devices.get(event.device))
                    .copied();
            }
            Kind::RecvUpcall => {
                event.datapath = c_str(&self.dpif_name);
                event.packet = captured(&self.pkt, self.pkt_size);
                event.key = captured(&self.key, self.key_size);
                event.port = flow_key::in_port(event.key.bytes);
            }
            Kind::OpFlowExecute => event.packet = captured(&self.pkt, self.pkt_size),
            _ => {}
        }
        Some(event)
    }
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What remains of a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes a character and the blanks before it, and returns whether it was there.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_blanks();
        match self.0.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.skip_blanks();
        let len = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Reads a literal of text or of bytes into `value`.
    fn string(&mut self, value: &mut Vec<u8>) -> Option<()> {
        value.clear();
        self.skip_blanks();
        if let Some(rest) = self.0.strip_prefix(b"b") {
            self.0 = rest;
        }
        let (quote, mut rest) = self.0.split_first()?;
        if !matches!(quote, b'\'' | b'"') {
            return None;
        }
        loop {
            let plain = rest.iter().position(|b| b == quote || *b == b'\\')?;
            value.extend_from_slice(&rest[..plain]);
            let escaped = rest[plain] == b'\\';
            rest = &rest[plain + 1..];
            if !escaped {
                self.0 = rest;
                return Some(());
            }
            let (kind, after) = rest.split_first()?;
            rest = after;
            match kind {
                b'x' => {
                    let (digits, after) = rest.split_first_chunk::<2>()?;
                    let high = char::from(digits[0]).to_digit(16)?;
                    let low = char::from(digits[1]).to_digit(16)?;
                    value.push((high << 4 | low) as u8);
                    rest = after;
                }
                b'n' => value.push(b'\n'),
                b'r' => value.push(b'\r'),
                b't' => value.push(b'\t'),
                b'\\' | b'\'' | b'"' => value.push(*kind),
                // Python's repr() writes no other escapes of bytes.
                _ => return None,
            }
        }
    }

    /// Skips a value of any kind.
    fn skip(&mut self, depth: u32) -> Option<()> {
        self.skip_blanks();
        match self.0.first()? {
            b'{' if depth < MAX_DEPTH => self.dictionary(|cursor| {
                cursor.skip(depth + 1)?;
                cursor.colon()?;
                cursor.skip(depth + 1)
            }),
            b'-' => {
                self.0 = &self.0[1..];
                self.number().map(drop)
            }
            b'0'..=b'9' => self.number().map(drop),
            _ => self.string(&mut Vec::new()),
        }
    }

    fn colon(&mut self) -> Option<()> {
        self.take(b':').then_some(())
    }

    /// Reads a dictionary, each item of which `item` reads.
    fn dictionary(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.take(b'{') {
            return None;
        }
        loop {
            if self.take(b'}') {
                return Some(());
            }
            item(self)?;
            if !self.take(b',') {
                return self.take(b'}').then_some(());
            }
        }
    }

    fn end(&mut self) -> Option<()> {
        self.skip_blanks();
        self.0.is_empty().then_some(())
    }
}

fn port_map(value: &[u8]) -> Option<Ports> {
    let mut ports = HashMap::new();
    let mut cursor = Cursor(value);
    cursor.dictionary(|cursor| {
        let mut datapath = Vec::new();
        cursor.string(&mut datapath)?;
        cursor.colon()?;
        let mut devices = HashMap::new();
        cursor.dictionary(|cursor| {
            let mut device = Vec::new();
            cursor.string(&mut device)?;
            cursor.colon()?;
            let port = u32::try_from(cursor.number()?).ok()?;
            devices.insert(device, port);
            Some(())
        })?;
        ports.insert(datapath, devices);
        Some(())
    })?;
    cursor.end()?;
    Some(ports)
}

fn missed(value: &[u8]) -> Option<[u64; KINDS]> {
    let mut missed = [0; KINDS];
    let mut cursor = Cursor(value);
    cursor.dictionary(|cursor| {
        let kind = usize::try_from(cursor.number()?).ok()?;
        cursor.colon()?;
        *missed.get_mut(kind)? = cursor.number()?;
        Some(())
    })?;
    cursor.end()?;
    Some(missed)
}

/// Reads the fields of an event, all of which must be there.
fn event(value: &[u8], fields: &mut Fields) -> Option<()> {
    const ALL: u32 = (1 << 12) - 1;
    let mut cursor = Cursor(value);
    let mut seen = 0u32;
    cursor.dictionary(|cursor| {
        cursor.string(&mut fields.name)?;
        cursor.colon()?;
        let numbers = [
            (&b"event"[..], &mut fields.event),
            (b"cpu", &mut fields.cpu),
            (b"pid", &mut fields.pid),
            (b"ts", &mut fields.ts),
            (b"pkt_frag_size", &mut fields.pkt_frag_size),
            (b"pkt_size", &mut fields.pkt_size),
            (b"key_size", &mut fields.key_size),
        ];
        let strings = [
            (&b"comm"[..], &mut fields.comm),
            (b"dpif_name", &mut fields.dpif_name),
            (b"dev_name", &mut fields.dev_name),
            (b"pkt", &mut fields.pkt),
            (b"key", &mut fields.key),
        ];
        for (bit, (name, field)) in numbers.into_iter().enumerate() {
            if fields.name == name {
                *field = cursor.number()?;
                seen |= 1 << bit;
                return Some(());
            }
        }
        for (bit, (name, field)) in strings.into_iter().enumerate() {
            if fields.name == name {
                cursor.string(field)?;
                seen |= 1 << (7 + bit);
                return Some(());
            }
        }
        cursor.skip(0)
    })?;
    cursor.end()?;
    (seen == ALL).then_some(())
}
