//! JSON Lines: an object on each line, whose `record` says what it is.
//!
//! The first line of each tool's stream is its `start` record: the number of its schema, the tool and its version.
//! Throughout,
//!
//! * a field has one type, or is absent or null;
//! * a number is exact below 2^53; what may be larger is a string of hexadecimal digits, except for times of
//!   `CLOCK_MONOTONIC` in nanoseconds;
//! * bytes are base64 (RFC 4648, with padding);
//! * text is the text itself, see [`Text`]; escapes for terminals are no part of it.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::bpf::record::Head;
use crate::run::loss::{END_NOT_SEEN, Lost, SKIPPED};
use crate::run::recording::Start;
use crate::show::errno;
use crate::show::escape::plain;
use crate::trace::captured::Captured;

/// The fields of a start record that are text, and those that are numbers.
const START_TEXTS: [&str; 5] = ["tool", "tool_version", "machine", "kernel", "source"];
const START_NUMBERS: [&str; 3] = ["pid", "packet_size", "flow_key_size"];

/// One line, which is written front to back into memory and keeps that for the next one.
///
/// It is not made of a tree for serde, because the layers of a packet are pushed by their decoder one after the other.
/// Nothing here can fail: writing to memory does not, and only maps whose keys are not text have no JSON.
#[derive(Debug, Default)]
pub struct Line {
    text: Vec<u8>,
    /// Room for the text of a field.
    room: String,
}

impl Line {
    /// Begins a line. `tag` says what it is.
    pub fn record(&mut self, tag: &str) {
        self.text.clear();
        self.text.push(b'{');
        self.field("record", tag);
    }

    /// Begins the first line of a stream. `schema` changes when a field changes its meaning or goes, not when one is
    /// added.
    pub fn start(&mut self, schema: u32, start: &Start) {
        self.record("start");
        self.field("schema", schema);
        for name in START_TEXTS {
            if let Some(value) = start.get(name) {
                self.field(name, value);
            }
        }
        for name in START_NUMBERS {
            if let Some(value) = start.get(name).and_then(|value| value.parse::<u32>().ok()) {
                self.field(name, value);
            }
        }
    }

    /// A comma, if something is before it.
    fn separate(&mut self) {
        if !matches!(self.text.last(), Some(b'{' | b'[' | b':')) {
            self.text.push(b',');
        }
    }

    /// The name of a field, whose value comes next.
    pub fn name(&mut self, name: &str) {
        self.name_of(name, "");
    }

    /// The name of a field that goes with the field `name`, `type_name` for example.
    pub fn name_of(&mut self, name: &str, suffix: &str) {
        self.separate();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(suffix.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// An item of an array, or the value of the field whose name was written last.
    pub fn value(&mut self, value: impl Serialize) {
        self.separate();
        let _ = serde_json::to_writer(&mut self.text, &value);
    }

    pub fn field(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        self.value(value);
    }

    /// A string of which no character needs an escape, as a value.
    pub fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.separate();
        self.text.push(b'"');
        write(&mut self.text);
        self.text.push(b'"');
    }

    /// A field that is a string of which no character needs an escape.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name);
        self.quoted(|text| {
            let _ = write!(text, "{value}");
        });
    }

    /// A field that is text which `write` appends to a buffer.
    pub fn text(&mut self, name: &str, write: impl FnOnce(&mut String) -> fmt::Result) {
        let mut room = std::mem::take(&mut self.room);
        room.clear();
        // Writing to a String cannot fail.
        let _ = write(&mut room);
        self.field(name, &room);
        self.room = room;
    }

    pub fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.plain(name, Base64Display::new(bytes, &STANDARD));
    }

    /// An array of the names of the bits that are set.
    pub fn bits(&mut self, set: u64, names: impl Iterator<Item = (u64, &'static str)>) {
        self.begin_item(b'[');
        for (bit, name) in names {
            if set & bit != 0 {
                self.value(name);
            }
        }
        self.end(b']');
    }

    /// Begins a field that is an object or an array.
    pub fn begin(&mut self, name: &str, bracket: u8) {
        self.name(name);
        self.text.push(bracket);
    }

    /// Begins an object or an array that is an item of an array.
    pub fn begin_item(&mut self, bracket: u8) {
        self.separate();
        self.text.push(bracket);
    }

    pub fn end(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    /// Begins an object that says how much of something was captured.
    pub fn captured(&mut self, name: &str, captured: &Captured<'_>) {
        self.begin(name, b'{');
        self.field("length", captured.len);
        self.field("captured", captured.bytes.len());
        if let Some(errno) = captured.error {
            self.field("error", errno);
            if let Some(name) = errno::name(errno) {
                self.field("error_name", name);
            }
        }
    }

    /// The head of a record, and its time of day in nanoseconds since 1970.
    pub fn head(&mut self, head: &Head<'_>, wall: u64) {
        self.times(head.time, wall);
        self.field("cpu", head.cpu);
        self.field("comm", Text(head.comm));
        self.field("pid", head.pid);
        self.field("tid", head.tid);
    }

    /// A time of `CLOCK_MONOTONIC`, and the same in nanoseconds since 1970.
    pub fn times(&mut self, time: u64, wall: u64) {
        self.field("time_ns", time);
        let wall = UNIX_EPOCH + Duration::from_nanos(wall);
        self.plain("wall_time", humantime::format_rfc3339_nanos(wall));
    }

    /// How many were lost, in all and by reason.
    pub fn lost(&mut self, lost: &Lost) {
        self.field("lost", lost.total());
        self.begin("lost_reasons", b'{');
        for (reason, count) in lost.by_reason() {
            // They are there only where they happened: they are rare, and streams had no such fields before.
            if [SKIPPED, END_NOT_SEEN].contains(&reason.why) && count == 0 {
                continue;
            }
            self.field(&reason.why.replace(' ', "_"), count);
        }
        self.end(b'}');
    }

    /// Ends the line and writes it.
    pub fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.text.extend_from_slice(b"}\n");
        out.write_all(&self.text)
    }
}

/// Text that another process chose, as a JSON string. What is not UTF-8 in it becomes U+FFFD, since JSON has no bytes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match plain(self.0) {
            Some(plain) => serializer.serialize_str(plain),
            None => serializer.serialize_str(&String::from_utf8_lossy(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::default();
        line.record("event");
        fill(&mut line);
        let mut out = Vec::new();
        line.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Check that commas are between values and nowhere else, and that each kind of value is written as it should be.
    #[test]
    fn nesting() {
        let line = written(|line| {
            line.begin("a", b'[');
            line.value(1);
            line.begin_item(b'{');
            line.end(b'}');
            line.begin_item(b'{');
            line.plain("b", 2);
            line.base64("c", b"\0\xff");
            line.end(b'}');
            line.end(b']');
            line.name_of("d", "_names");
            line.bits(5, [(1, "x"), (2, "y"), (4, "z")].into_iter());
            line.field("f", ());
        });
        assert_eq!(
            line,
            "{\"record\":\"event\",\"a\":[1,{},{\"b\":\"2\",\"c\":\"AP8=\"}],\"d_names\":[\"x\",\"z\"],\"f\":null}\n"
        );
    }

    /// Check that text is escaped as JSON has it and in no other way, and that bytes which are no text are replaced.
    #[test]
    fn text() {
        let line = written(|line| line.field("a", Text(b"a\n\"\\\x1b\xe2\x80\xae\xff")));
        assert_eq!(
            line,
            "{\"record\":\"event\",\"a\":\"a\\n\\\"\\\\\\u001b\u{202e}\u{fffd}\"}\n"
        );
    }

    /// Check that the start record has what is known, numbers as numbers.
    #[test]
    fn start() {
        let mut start = Start::of("tool");
        start.set("pid", 7);
        start.set("kernel", "6.1\x1b");
        start.set("packet_size", "many");
        let mut line = Line::default();
        line.start(3, &start);
        let (version, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        assert_eq!(
            String::from_utf8(line.text).unwrap(),
            format!(
                "{{\"record\":\"start\",\"schema\":3,\"tool\":\"tool\",\"tool_version\":\"{version}\",\
                 \"machine\":\"{machine}\",\"kernel\":\"6.1\\u001b\",\"pid\":7"
            )
        );
    }
}
