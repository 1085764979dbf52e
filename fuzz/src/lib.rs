//! What several targets share.

use std::fmt;

use ovs_tracers::show::json::Line;
use serde_json::Value;

/// A text that is written to a String, which takes everything.
pub fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    write(&mut text).expect("a String takes everything");
    text
}

/// An object of JSON with the fields that are written into it; it must be one.
pub fn json(write: impl FnOnce(&mut Line)) -> Value {
    let (mut line, mut out) = (Line::default(), Vec::new());
    line.record("event");
    write(&mut line);
    line.write(&mut out).expect("a Vec takes everything");
    parse(&out)
}

/// A line of JSON.
pub fn parse(line: &[u8]) -> Value {
    assert_eq!(line.last(), Some(&b'\n'), "a line ends");
    let text = str::from_utf8(line).expect("JSON is UTF-8");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All brackets of a text in the syntax of Open vSwitch are closed, and it is ASCII.
#[track_caller]
pub fn check_odp(text: &str) {
    assert!(text.is_ascii(), "{text}");
    // The name of a helper or of a timeout may have brackets, as it may in Open vSwitch's own text.
    if text.contains("helper=") || text.contains("timeout=") {
        return;
    }
    let count = |bracket| text.matches(bracket).count();
    assert_eq!(count('('), count(')'), "{text}");
}

/// A name of every second port.
pub fn port_name(port: u32) -> Option<String> {
    port.is_multiple_of(2).then(|| format!("port{port}"))
}

/// The first bytes of an input as numbers, and the rest of it.
pub fn head<const N: usize>(data: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = data.split_first_chunk()?;
    Some((*head, rest))
}

/// A netlink attribute with its padding.
pub fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(&payload[..usize::from(len) - 4]);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
