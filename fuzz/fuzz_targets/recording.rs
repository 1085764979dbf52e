//! Recordings of each tool, of each version of its records: blocks, records, events, and what is shown of them.
//!
//! Input: two bytes of options, a recording. Its lengths and checksums are made right first, so that a changed byte gets
//! through to the records; if the first byte is odd, it is read as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::bpf::record::Head;
use ovs_tracers::bridge_loop;
use ovs_tracers::bridge_loop::held::Held;
use ovs_tracers::bridge_loop::kernel_stack::KernelSymbols;
use ovs_tracers::bridge_loop::record::Record;
use ovs_tracers::bridge_loop::unwind::{StackCopy, Unwinder};
use ovs_tracers::cost::analysis::Analysis;
use ovs_tracers::cost::histogram::Scale;
use ovs_tracers::cost::report::Options;
use ovs_tracers::cost::{self, Event};
use ovs_tracers::dpif_ops::event::{self, Op};
use ovs_tracers::dpif_ops::show::Row;
use ovs_tracers::ovs::ports::{self, PortNames};
use ovs_tracers::run::recording::{Block, Reader, Records, Start, Writer};
use ovs_tracers::show::decode::Decode;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::flows::{Flow, Flows};
use ovs_tracers::upcall::json::Json;
use ovs_tracers::upcall::pcapng::{self, Section};
use ovs_tracers::upcall::record;
use ovs_tracers::upcall::text::{PacketDecode, Table, key_lines};
use ovs_tracers_fuzz::{head, json, parse, port_name, text};

/// bridge-loop makes no recordings: its records are read in a file of the same form.
const BRIDGE_LOOP: Records = Records {
    tool: "bridge-loop",
    version: 1,
    upgrade: |_, record, to| to.extend_from_slice(record),
};

/// Makes the lengths and the checksums of all blocks right.
fn mend(recording: &mut [u8]) {
    let mut rest = recording.get_mut(12..).unwrap_or_default();
    while let Some((head, behind)) = rest.split_first_chunk_mut::<12>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let length = length.min(behind.len());
        head[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        let (payload, others) = behind.split_at_mut(length);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[..8]);
        hasher.update(payload);
        head[8..].copy_from_slice(&hasher.finalize().to_le_bytes());
        rest = others;
    }
}

/// Reads a recording with records of one kind, and writes what was read, which must be readable as the same.
fn read(recording: &[u8], records: &Records, mut each: impl FnMut(&[u8])) {
    let mut reader = Reader::new(recording, records).expect("it is one of this tool");
    let mut start = Start::new(records);
    start.set("machine", reader.start().get("machine").unwrap_or_default());
    let (mut out, mut blocks) = (Vec::new(), 0);
    let mut writer = Writer::new(&mut out, &start).expect("a Vec takes everything");
    let mut names = PortNames::unknown(ports::Error::Moving);
    while let Ok(block) = reader.next_block() {
        blocks += 1;
        let wrote = match block {
            Block::Record(record) => {
                each(record);
                writer.record(record)
            }
            Block::Port {
                datapath,
                port,
                name,
            } => {
                names.insert(datapath, port, name);
                assert_eq!(names.known(datapath, port), Some(name));
                writer.port(datapath, port, name)
            }
            Block::Clock(offset) => writer.clock(offset),
            Block::Lost(lost) => writer.lost(&lost),
            Block::Daemons(pids) => writer.daemons(&pids),
            Block::Datapath { ifindex, name } => writer.datapath(ifindex, name),
            Block::End => break,
        };
        // An old record may become longer than a block is.
        if wrote.is_err() {
            return;
        }
    }
    writer.finish().expect("a Vec takes everything");
    let mut again = Reader::new(&out[..], records).expect("it was just written");
    for _ in 0..blocks {
        again.next_block().expect("it was just written");
    }
}

/// Whether the recording is one of this tool; if it is none at all, the error says why in words that can be shown.
fn is_of(recording: &[u8], records: &Records) -> bool {
    let Err(error) = Reader::new(recording, records) else {
        return true;
    };
    let text = error.to_string();
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    false
}

fn upcalls(recording: &[u8], options: u8) {
    let start = Start::new(&record::RECORDS);
    let packets = [PacketDecode::Decode, PacketDecode::Hex, PacketDecode::None];
    let keys = [Decode::Odp, Decode::Nlraw, Decode::Hex, Decode::None];
    let (packets, keys) = (
        packets[usize::from(options % 3)],
        keys[usize::from(options >> 2 & 3)],
    );
    let mut lines = Vec::new();
    let mut json = Json::new(&mut lines, packets, &start).expect("a Vec");
    let mut table = Table::new(Vec::new(), packets, true, options & 64 != 0).expect("a Vec");
    let mut capture = pcapng::Writer::new(Vec::new(), 0, &Section::default()).expect("a Vec");
    let mut flows = Flows::default();
    read(recording, &record::RECORDS, |record| {
        let upcall = match Upcall::from_record(record) {
            Ok(upcall) => upcall,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        assert!(upcall.record_len <= record.len());
        let key = text(|out| key_lines(out, &upcall.key, keys));
        let time = upcall.time.wrapping_add(1_790_000_000_000_000_000);
        let wrote = json.event(&upcall, Some("eth0"), Some(1), port_name, time);
        wrote.expect("a Vec");
        table
            .upcall(&upcall, upcall.link(), "eth0", &key)
            .expect("a Vec");
        capture
            .write(&upcall, upcall.link(), "eth0", time, Some(&key))
            .expect("a Vec");
        flows.add(&Flow::of(&upcall), 1);
    });
    capture.finish(&pcapng::Stats::default()).expect("a Vec");
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        parse(line);
    }
    assert!(flows.top(3).len() <= 3);
}

fn costs(recording: &[u8], options: u8) {
    let start = Start::new(&cost::RECORDS);
    let mut lines = Vec::new();
    let mut json = cost::json::Json::new(&mut lines, &start).expect("a Vec");
    let mut analysis = Analysis::new(&[], 5, true);
    analysis.of_kernel = options & 1 != 0;
    read(
        recording,
        &cost::RECORDS,
        |record| match Event::from_record(record) {
            Ok(event) => {
                json.event(&event).expect("a Vec");
                let line = text(|out| cost::line(out, &event));
                assert!(line.ends_with('\n'));
                if analysis.wants(&event) {
                    analysis.event(&event);
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    );
    analysis.finish();
    let scale = match options & 2 {
        0 => Scale::Linear(u32::from(options >> 2) + 1),
        _ => Scale::Logarithmic,
    };
    let sets = options & 128 != 0;
    let options = Options { scale, sets };
    json.report(&analysis, &options, 0).expect("a Vec");
    cost::report::write(&mut Vec::new(), &analysis, &options).expect("a Vec");
    cost::svg::write(&mut Vec::new(), &analysis, "a recording").expect("a Vec");
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        parse(line);
    }
}

fn operations(recording: &[u8], options: u8) {
    let decode = [Decode::Odp, Decode::Nlraw, Decode::Hex, Decode::None][usize::from(options % 4)];
    read(recording, &event::RECORDS, |record| {
        let Some(op) = Op::from_record(record) else {
            return;
        };
        assert!(op.record_len <= record.len());
        let title = text(|out| op.title(out));
        let row = Row {
            op: &op,
            title: &title,
            datapath: (options & 4 != 0).then_some(op.head.comm),
            ports: None,
            wall_time: op.head.time,
        };
        let shown = text(|out| row.text(decode, out));
        assert!(shown.ends_with('\n'));
        json(|line| row.json(line));
    });
}

fn runs(recording: &[u8]) {
    let symbols = KernelSymbols::new("ffffffff81000000 T _stext\n");
    let mut unwinder = Unwinder::of_file(&[]);
    read(recording, &BRIDGE_LOOP, |record| {
        let _ = Head::read(record);
        if let Some((_, copy)) = StackCopy::from_bytes(record) {
            let chain = unwinder.unwind(&copy);
            assert!(chain.certain <= chain.frames.len());
        }
        let Some(run) = Record::from_bytes(record) else {
            return;
        };
        let held = run.held.as_ref();
        let held = held.map(|held| Held::new(held, run.header.duration, &symbols));
        let shown = text(|out| bridge_loop::text::record(out, &run, held.as_ref(), None));
        assert!(shown.ends_with('\n'));
        let mut line = Vec::new();
        let mut json = bridge_loop::json::Json::default();
        json.record(&mut line, &run, true, held.as_ref(), None)
            .expect("a Vec");
        parse(&line);
    });
}

fuzz_target!(|data: &[u8]| {
    let Some(([odd, options], data)) = head(data) else {
        return;
    };
    let mut recording = data.to_vec();
    if odd % 2 == 0 {
        mend(&mut recording);
    }
    if is_of(&recording, &record::RECORDS) {
        upcalls(&recording, options);
    } else if is_of(&recording, &cost::RECORDS) {
        costs(&recording, options);
    } else if is_of(&recording, &event::RECORDS) {
        operations(&recording, options);
    } else if is_of(&recording, &BRIDGE_LOOP) {
        runs(&recording);
    }
});
