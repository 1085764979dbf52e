//! The callers of a function by .eh_frame: any bytes as that section of a file whose code is at 0x1000, and a stack
//! that begins in it.
//!
//! Input: a byte that says whether there is an .eh_frame_hdr, one for the place in the code, one for the size of the
//! stack, the stack, the section.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::bpf::bridge_loop::types::{bridge_loop_limit, stack_copy};
use ovs_tracers::bpf::record::bytes;
use ovs_tracers::bridge_loop::unwind::{StackCopy, Unwinder};
use ovs_tracers_fuzz::head;

const CODE: u64 = 0x1000;
const EH_FRAME: u64 = 0x8000;
const EH_FRAME_HDR: u64 = 0x7000;
const STACK: u64 = 0x7fff_0000_0000;

/// A file with a segment of code and these sections, each with its name and address.
fn file(sections: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let names: String = sections
        .iter()
        .map(|(name, ..)| format!("{name}\0"))
        .collect();
    let names = format!("\0{names}.shstrtab\0");
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut at = 64 + 56;
    let contents: usize = sections.iter().map(|(_, _, bytes)| bytes.len()).sum();
    let headers_at = (at + contents + names.len()).next_multiple_of(8);
    for half in [3_u16, 62, 1, 0] {
        file.extend(half.to_le_bytes());
    }
    for long in [CODE, 64, headers_at as u64] {
        file.extend(long.to_le_bytes());
    }
    let count = sections.len() as u16 + 2;
    for half in [0, 0, 64, 56, 1, 64, count, count - 1] {
        file.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for long in [0, CODE, CODE, 0x100, 0x100, 0x1000] {
        file.extend(long.to_le_bytes());
    }
    let mut headers = vec![0; 64];
    let mut name_at = 1;
    let mut header = |name: &str, kind: u32, address: u64, len: usize| {
        for word in [name_at, kind] {
            headers.extend(word.to_le_bytes());
        }
        for long in [0, address, at as u64, len as u64, 0, 1, 0] {
            headers.extend(long.to_le_bytes());
        }
        name_at += name.len() as u32 + 1;
        at += len;
    };
    for (name, address, bytes) in sections {
        header(name, 1, *address, bytes.len());
        file.extend(*bytes);
    }
    header(".shstrtab", 3, 0, names.len());
    file.extend(names.as_bytes());
    file.resize(headers_at, 0);
    file.extend(headers);
    file
}

fuzz_target!(|data: &[u8]| {
    let Some(([hdr, place, words], rest)) = head(data) else {
        return;
    };
    let (stack, rest) = rest.split_at((usize::from(words) * 8).min(rest.len()));
    let file = match hdr {
        0..32 => {
            let (hdr, frames) = rest.split_at(usize::from(hdr).min(rest.len()));
            file(&[
                (".eh_frame", EH_FRAME, frames),
                (".eh_frame_hdr", EH_FRAME_HDR, hdr),
            ])
        }
        _ => file(&[(".eh_frame", EH_FRAME, rest)]),
    };
    let mut header = stack_copy {
        size: stack.len() as u32,
        ..stack_copy::default()
    };
    header.head.kind = bridge_loop_limit::KIND_STACK_COPY.0 as u16;
    // All registers are in the stack, but for those that have to be elsewhere: rsp and rip.
    for (index, word) in header.regs.iter_mut().enumerate() {
        *word = STACK + 8 * index as u64;
    }
    header.regs[19] = STACK;
    header.regs[16] = CODE + u64::from(place);
    let record = [bytes(&header), stack].concat();
    let (_, copy) = StackCopy::from_bytes(&record).expect("a copy");
    let chain = Unwinder::of_file(&file).unwind(&copy);
    assert!(chain.certain <= chain.frames.len() && chain.certain >= 1);
    assert_eq!(chain.frames[0], CODE + u64::from(place));
});
