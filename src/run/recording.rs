//! Recordings: everything that the kernel delivered to a tool, to be shown again on any machine.
//!
//! A recording is the 8 bytes `OVSTRACE`, a version, and blocks until the end of the file. All numbers are
//! little-endian.
//!
//! | bytes | block |
//! |---|---|
//! | 4 | kind |
//! | 4 | length of the payload, at most 1 MiB |
//! | 4 | CRC-32 (ISO 3309) of kind, length and payload |
//! | length | payload |
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 1 | start | lines of `name=value` in UTF-8; the first block of a recording |
//! | 2 | record | a record as the BPF program wrote it (`bpf/TOOL.h`), without the bytes that it left unused |
//! | 3 | port | number of a port (4 bytes), length of the datapath's name (2), that name, the port's name |
//! | 4 | clock | `CLOCK_REALTIME` less `CLOCK_MONOTONIC` in nanoseconds (8 bytes, signed), from here on |
//! | 5 | lost | how many events were lost until here, by reason (8 bytes each) |
//! | 6 | end | none; the last block of a recording that was not cut off |
//! | 7 | daemons | process ids of the daemons that are traced from here on (4 bytes each); those of the start block until then |
//! | 8 | datapath | number of a datapath in requests to it (4 bytes), its name |
//!
//! A block of an unknown kind is passed over.
//!
//! The version at the beginning is that of the blocks. The layout of its records is a tool's own matter, and has a
//! version of its own: `records` in the start block. A recording of version 2 does not have it, and its records are of
//! version 1. A tool reads its older records too, which become current ones on the way ([`Records`]).

use std::io::{self, Read, Write};

use crate::show::message::cause;

const MAGIC: &[u8; 8] = b"OVSTRACE";
/// Changes with the layout of any block. Version 3 added `records` to the start block: a program that knows only
/// version 2 would take newer records for older ones.
pub const VERSION: u32 = 3;
/// The oldest that is read.
const OLDEST: u32 = 2;
const MAX_PAYLOAD: u32 = 1 << 20;

const START: u32 = 1;
const RECORD: u32 = 2;
const PORT: u32 = 3;
const CLOCK: u32 = 4;
const LOST: u32 = 5;
const END: u32 = 6;
const DAEMONS: u32 = 7;
const DATAPATH: u32 = 8;

/// Why a file is not read, or not read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read the recording: {}", cause(.0))]
    Io(#[from] io::Error),
    #[error("not a recording: it does not begin with OVSTRACE\n--replay reads what --record wrote")]
    Foreign,
    #[error("a recording of version {0}, and this program reads versions {OLDEST} to {VERSION}\nuse {age} {tool}", age = age(*.0), tool = env!("CARGO_PKG_NAME"))]
    Version(u32),
    #[error("a recording of {tool} whose records are of version {version}, made by a newer version of it; this one reads up to version {known}\nuse a newer {package}", package = env!("CARGO_PKG_NAME"))]
    Records {
        tool: &'static str,
        version: u32,
        known: u32,
    },
    #[error("a recording of {0}, not of {1}\nreplay it with {0}")]
    OtherTool(String, String),
    #[error("the recording was cut off at byte {0}")]
    Cut(u64),
    #[error("the recording is damaged at byte {0}")]
    Damaged(u64),
}

/// Which program reads a recording of another version.
fn age(version: u32) -> &'static str {
    if version > VERSION {
        "a newer"
    } else {
        "an older"
    }
}

/// The records of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Records {
    /// Name of the tool.
    pub tool: &'static str,
    /// Changes with the layout of a record; from 1 on.
    pub version: u32,
    /// Appends the record of an older version, the first argument, to an empty buffer as one of the current version.
    /// A record that is too short for its version stays too short.
    pub upgrade: fn(u32, &[u8], &mut Vec<u8>),
}

/// One block of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    Record(&'a [u8]),
    Port {
        datapath: &'a [u8],
        port: u32,
        name: &'a str,
    },
    Clock(i64),
    Lost(Vec<u64>),
    Daemons(Vec<u32>),
    Datapath {
        ifindex: u32,
        name: &'a [u8],
    },
    End,
}

/// What a recording says of its origin: the start block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    fields: Vec<(String, String)>,
}

impl Start {
    /// Of a tool's recording.
    pub fn new(records: &Records) -> Self {
        let mut start = Self::of(records.tool);
        start.set("records", records.version);
        start
    }

    /// Of a tool that makes no recordings.
    pub fn of(tool: &str) -> Self {
        let mut start = Self::default();
        start.set("tool", tool);
        start.set("tool_version", env!("CARGO_PKG_VERSION"));
        start.set("machine", std::env::consts::ARCH);
        start
    }

    pub fn set(&mut self, name: &str, value: impl ToString) {
        // A value is one line, whatever process it came from.
        let value = value.to_string().replace(['\n', '\r'], " ");
        self.fields.push((name.to_string(), value));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(n, _)| n == name)?;
        Some(value)
    }
}

/// Writes a recording. Each block goes to `out` whole.
pub struct Writer<W: Write> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W, start: &Start) -> io::Result<Self> {
        let mut writer = Self {
            out,
            block: Vec::new(),
        };
        writer.out.write_all(MAGIC)?;
        writer.out.write_all(&VERSION.to_le_bytes())?;
        let lines: String = start
            .fields
            .iter()
            .map(|(n, v)| format!("{n}={v}\n"))
            .collect();
        writer.write(START, &[lines.as_bytes()])?;
        // So that it is a recording, with nothing in it, if this process is killed before an event comes.
        writer.out.flush()?;
        Ok(writer)
    }

    fn write(&mut self, kind: u32, payload: &[&[u8]]) -> io::Result<()> {
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.block.clear();
        self.block.extend_from_slice(&kind.to_le_bytes());
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(&[0; 4]);
        for part in payload {
            self.block.extend_from_slice(part);
        }
        let checksum = checksum(&self.block[..8], &self.block[12..]);
        self.block[8..12].copy_from_slice(&checksum.to_le_bytes());
        self.out.write_all(&self.block)
    }

    pub fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.write(RECORD, &[record])
    }

    pub fn port(&mut self, datapath: &[u8], port: u32, name: &str) -> io::Result<()> {
        let length = u16::try_from(datapath.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let head = [&port.to_le_bytes()[..], &length.to_le_bytes()[..]];
        self.write(PORT, &[head[0], head[1], datapath, name.as_bytes()])
    }

    pub fn clock(&mut self, offset: i64) -> io::Result<()> {
        self.write(CLOCK, &[&offset.to_le_bytes()])
    }

    pub fn lost(&mut self, lost: &[u64]) -> io::Result<()> {
        let bytes: Vec<u8> = lost.iter().flat_map(|count| count.to_le_bytes()).collect();
        self.write(LOST, &[&bytes])
    }

    pub fn daemons(&mut self, pids: &[u32]) -> io::Result<()> {
        let bytes: Vec<u8> = pids.iter().flat_map(|pid| pid.to_le_bytes()).collect();
        self.write(DAEMONS, &[&bytes])
    }

    pub fn datapath(&mut self, ifindex: u32, name: &[u8]) -> io::Result<()> {
        self.write(DATAPATH, &[&ifindex.to_le_bytes(), name])
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.write(END, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads a recording block by block.
pub struct Reader<R: Read> {
    input: R,
    offset: u64,
    payload: Vec<u8>,
    start: Start,
    records: Records,
    /// Version of the records in the file.
    version: u32,
    upgraded: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads up to the end of the start block of a recording with such records.
    pub fn new(input: R, records: &Records) -> Result<Self, Error> {
        let mut reader = Self {
            input,
            offset: 0,
            payload: Vec::new(),
            start: Start::default(),
            records: *records,
            version: 1,
            upgraded: Vec::new(),
        };
        let mut magic = [0; 8];
        let got = reader.fill(&mut magic)?;
        if got < magic.len() {
            // The beginning of a recording is one that was cut off early.
            let cut = got > 0 && MAGIC.starts_with(&magic[..got]);
            return Err(if cut {
                Error::Cut(got as u64)
            } else {
                Error::Foreign
            });
        }
        if &magic != MAGIC {
            return Err(Error::Foreign);
        }
        let mut version = [0; 4];
        if reader.fill(&mut version)? < version.len() {
            return Err(Error::Cut(reader.offset));
        }
        let layout = u32::from_le_bytes(version);
        if !(OLDEST..=VERSION).contains(&layout) {
            return Err(Error::Version(layout));
        }
        match reader.read_block()? {
            Some(START) => {}
            Some(_) => return Err(Error::Damaged(12)),
            None => return Err(Error::Cut(reader.offset)),
        }
        let lines = String::from_utf8_lossy(&reader.payload);
        let fields = lines.lines().filter_map(|line| line.split_once('='));
        reader.start.fields = fields
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        let Records { tool, version, .. } = *records;
        match reader.start.get("tool") {
            Some(recorded) if recorded == tool => {}
            // Whoever made the file chose it.
            Some(recorded) => {
                return Err(Error::OtherTool(
                    recorded.escape_default().to_string(),
                    tool.to_string(),
                ));
            }
            None => return Err(Error::Damaged(reader.offset)),
        }
        reader.version = match (layout, reader.start.get("records")) {
            (OLDEST, None) => 1,
            (OLDEST, Some(_)) | (_, None) => return Err(Error::Damaged(reader.offset)),
            (_, Some(recorded)) => match recorded.parse() {
                Ok(0) | Err(_) => return Err(Error::Damaged(reader.offset)),
                Ok(recorded) if recorded <= version => recorded,
                Ok(newer) => {
                    return Err(Error::Records {
                        tool,
                        version: newer,
                        known: version,
                    });
                }
            },
        };
        Ok(reader)
    }

    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The next block; a record is always of the current version. After [`Block::End`], and after an error, there is
    /// nothing more to read.
    pub fn next_block(&mut self) -> Result<Block<'_>, Error> {
        loop {
            let before = self.offset;
            let Some(kind) = self.read_block()? else {
                // Only the end block ends a recording.
                return Err(Error::Cut(self.offset));
            };
            if kind == RECORD && self.version < self.records.version {
                self.upgraded.clear();
                (self.records.upgrade)(self.version, &self.payload, &mut self.upgraded);
                return Ok(Block::Record(&self.upgraded));
            }
            if matches!(kind, RECORD..=DATAPATH) {
                return parse(kind, &self.payload).ok_or(Error::Damaged(before));
            }
        }
    }

    /// Reads a block into `payload` and returns its kind; none at the end of the file.
    fn read_block(&mut self) -> Result<Option<u32>, Error> {
        let before = self.offset;
        let mut head = [0; 12];
        match self.fill(&mut head)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(Error::Cut(self.offset)),
        }
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (kind, length, expected) = (word(0), word(4), word(8));
        if length > MAX_PAYLOAD {
            return Err(Error::Damaged(before));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length as usize, 0);
        let got = self.fill(&mut payload)?;
        let whole = got == payload.len();
        self.payload = payload;
        if !whole {
            return Err(Error::Cut(self.offset));
        }
        if checksum(&head[..8], &self.payload) != expected {
            return Err(Error::Damaged(before));
        }
        Ok(Some(kind))
    }

    /// Reads until `buffer` is full or the file ends; returns how much there was.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

fn parse(kind: u32, payload: &[u8]) -> Option<Block<'_>> {
    Some(match kind {
        RECORD => Block::Record(payload),
        PORT => {
            let (port, rest) = payload.split_first_chunk::<4>()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (datapath, name) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            Block::Port {
                datapath,
                port: u32::from_le_bytes(*port),
                name: std::str::from_utf8(name).ok()?,
            }
        }
        CLOCK => Block::Clock(i64::from_le_bytes(payload.try_into().ok()?)),
        LOST => {
            let (counts, rest) = payload.as_chunks::<8>();
            if !rest.is_empty() {
                return None;
            }
            Block::Lost(
                counts
                    .iter()
                    .map(|count| u64::from_le_bytes(*count))
                    .collect(),
            )
        }
        DAEMONS => {
            let (pids, rest) = payload.as_chunks::<4>();
            if !rest.is_empty() {
                return None;
            }
            Block::Daemons(pids.iter().map(|pid| u32::from_le_bytes(*pid)).collect())
        }
        DATAPATH => {
            let (ifindex, name) = payload.split_first_chunk::<4>()?;
            Block::Datapath {
                ifindex: u32::from_le_bytes(*ifindex),
                name,
            }
        }
        END if payload.is_empty() => Block::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that have had two more versions: in version 2 an exclamation mark was added, in version 3 another.
    const RECORDS: Records = Records {
        tool: "upcall-monitor",
        version: 3,
        upgrade: |version, record, to| {
            to.extend_from_slice(record);
            to.resize(record.len() + 3 - version as usize, b'!');
        },
    };

    fn recording() -> Vec<u8> {
        let mut start = Start::new(&RECORDS);
        start.set("command", "two\nlines");
        let mut writer = Writer::new(Vec::new(), &start).unwrap();
        writer.clock(-5).unwrap();
        writer.port(b"system@ovs-system", 2, "eth0").unwrap();
        writer.record(&[7; 300]).unwrap();
        writer.lost(&[1, 0, u64::MAX]).unwrap();
        writer.daemons(&[7, 8]).unwrap();
        writer.datapath(6, b"system@ovs-system").unwrap();
        writer.record(&[]).unwrap();
        writer.finish().unwrap()
    }

    fn blocks(bytes: &[u8]) -> (Vec<String>, Option<Error>) {
        let mut reader = match Reader::new(bytes, &RECORDS) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut blocks = Vec::new();
        loop {
            match reader.next_block() {
                Ok(Block::End) => return (blocks, None),
                Ok(block) => blocks.push(format!("{block:?}")),
                Err(error) => return (blocks, Some(error)),
            }
        }
    }

    /// Check that what was written is read, in its order.
    #[test]
    fn round_trip() {
        let (read, error) = blocks(&recording());
        assert!(error.is_none(), "{error:?}");
        let expected = [
            Block::Clock(-5),
            Block::Port {
                datapath: b"system@ovs-system",
                port: 2,
                name: "eth0",
            },
            Block::Record(&[7; 300]),
            Block::Lost(vec![1, 0, u64::MAX]),
            Block::Daemons(vec![7, 8]),
            Block::Datapath {
                ifindex: 6,
                name: b"system@ovs-system",
            },
            Block::Record(&[]),
        ];
        assert_eq!(read, expected.map(|block| format!("{block:?}")));

        let bytes = recording();
        let reader = Reader::new(&bytes[..], &RECORDS).unwrap();
        assert_eq!(reader.start().get("command"), Some("two lines"));
    }

    /// Check that a recording which is cut off anywhere is read up to the cut, and that the cut is reported.
    #[test]
    fn cut_anywhere() {
        let whole = recording();
        let (all, _) = blocks(&whole);
        for cut in 1..whole.len() {
            let (read, error) = blocks(&whole[..cut]);
            assert_eq!(read, all[..read.len()], "cut at {cut}");
            assert!(
                matches!(error, Some(Error::Cut(at)) if at == cut as u64),
                "cut at {cut}: {error:?}"
            );
        }
    }

    /// Check that any flipped bit is noticed, and that what came before it is read.
    #[test]
    fn flipped_bits() {
        let whole = recording();
        let (all, _) = blocks(&whole);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (read, error) = blocks(&bytes);
            assert_eq!(read, all[..read.len()], "bit {bit}");
            assert!(error.is_some(), "bit {bit} was not noticed");
        }
    }

    /// Check that the file of another program, version or tool is refused as what it is.
    #[test]
    fn refused() {
        assert!(matches!(blocks(b"").1, Some(Error::Foreign)));
        assert!(matches!(
            blocks(b"\x0a\x0d\x0d\x0apcapng").1,
            Some(Error::Foreign)
        ));
        for (version, hint) in [(OLDEST - 1, "an older"), (VERSION + 1, "a newer")] {
            let mut other = recording();
            other[8..12].copy_from_slice(&version.to_le_bytes());
            let error = blocks(&other).1.expect("an error");
            assert!(matches!(error, Error::Version(of) if of == version));
            assert!(error.to_string().contains(hint), "{error}");
        }
        let bytes = recording();
        let other = Records {
            tool: "upcall-cost",
            ..RECORDS
        };
        let error = Reader::new(&bytes[..], &other).err();
        assert!(matches!(error, Some(Error::OtherTool(tool, _)) if tool == "upcall-monitor"));
    }

    /// Check that older records become current ones, that current ones stay as they are, and that newer ones are
    /// refused with what helps; so is a version that is not a number.
    #[test]
    fn versions_of_records() {
        let with = |version: Option<&str>| {
            let mut start = Start::default();
            start.set("tool", "upcall-monitor");
            if let Some(version) = version {
                start.set("records", version);
            }
            let mut writer = Writer::new(Vec::new(), &start).unwrap();
            writer.record(b"record").unwrap();
            writer.clock(1).unwrap();
            writer.record(b"").unwrap();
            let mut bytes = writer.finish().unwrap();
            if version.is_none() {
                bytes[8] = OLDEST as u8;
            }
            blocks(&bytes)
        };
        let shown = |records: [&[u8]; 2]| {
            let blocks = [
                Block::Record(records[0]),
                Block::Clock(1),
                Block::Record(records[1]),
            ];
            blocks.map(|block| format!("{block:?}"))
        };
        for (version, records) in [
            (None, [&b"record!!"[..], b"!!"]),
            (Some("1"), [b"record!!", b"!!"]),
            (Some("2"), [b"record!", b"!"]),
            (Some("3"), [b"record", b""]),
        ] {
            let (read, error) = with(version);
            assert!(error.is_none(), "{version:?}: {error:?}");
            assert_eq!(read, shown(records), "{version:?}");
        }
        let (_, error) = with(Some("4"));
        let error = error.expect("an error").to_string();
        assert_eq!(
            error,
            "a recording of upcall-monitor whose records are of version 4, made by a newer version of it; this one \
             reads up to version 3\nuse a newer ovs-tracers"
        );
        for version in ["0", "-1", "two", "", "4294967296"] {
            let (_, error) = with(Some(version));
            assert!(matches!(error, Some(Error::Damaged(_))), "{version:?}");
        }
    }

    /// Check that a block of a kind that a later minor version may add is passed over.
    #[test]
    fn unknown_kind() {
        let mut writer = Writer::new(Vec::new(), &Start::new(&RECORDS)).unwrap();
        writer.write(99, &[b"future"]).unwrap();
        writer.clock(1).unwrap();
        let (read, error) = blocks(&writer.finish().unwrap());
        assert_eq!(read, [format!("{:?}", Block::Clock(1))]);
        assert!(error.is_none());
    }
}
