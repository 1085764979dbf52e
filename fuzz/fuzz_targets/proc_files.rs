//! Files of /proc: maps, stat, status and cmdline of a process, and kallsyms.
//!
//! Input: a byte that says which, the file. Between stat, status and cmdline is a byte 0x1c.

#![no_main]

use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use ovs_tracers::bridge_loop::kernel_stack::KernelSymbols;
use ovs_tracers::trace::fuzzing::{objects, process};
use ovs_tracers_fuzz::head;

/// The mapping of a line of maps that is one of a file, by way of splitting it at blanks: address, offset, inode.
fn fields(line: &[u8]) -> Option<(u64, u64, u64, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split(' ');
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (start, end) = words.next()?.split_once('-')?;
    let (_, offset, _, inode) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some((hex(start)?, hex(end)?, hex(offset)?, inode.parse().ok()?))
}

fuzz_target!(|data: &[u8]| {
    let Some(([kind], data)) = head(data) else {
        return;
    };
    match kind % 3 {
        0 => {
            let program = (kind >= 128).then(|| ("/usr/sbin/ovs-vswitchd".into(), 11));
            let found = objects(data, program);
            let lines: Vec<_> = data
                .split(|byte| *byte == b'\n')
                .filter_map(fields)
                .collect();
            for object in &found {
                assert!(
                    !object
                        .path
                        .as_os_str()
                        .as_bytes()
                        .ends_with(b" (deleted) (deleted)")
                        || object.deleted
                );
                for mapping in &object.mappings {
                    let (range, inode) = (&mapping.range, object.inode);
                    // Of a line that is not UTF-8 the other way makes nothing.
                    let line = (range.start, range.end, mapping.offset, inode);
                    assert!(
                        lines.contains(&line) || std::str::from_utf8(data).is_err(),
                        "{object:?}"
                    );
                    for offset in [0, mapping.offset, mapping.offset.wrapping_sub(1), u64::MAX] {
                        for address in object.code(offset).chain(object.data(offset)) {
                            let mut mappings = object.mappings.iter();
                            assert!(mappings.any(|mapping| mapping.range.contains(&address)));
                        }
                    }
                }
            }
        }
        1 => {
            let mut parts = data.split(|byte| *byte == 0x1c);
            let mut part = || parts.next().unwrap_or_default();
            let (stat, status, cmdline) = (part(), part(), part());
            let _ = process(stat, status, cmdline);
        }
        _ => {
            let symbols = KernelSymbols::new(String::from_utf8_lossy(data));
            let stack: Vec<u64> = data
                .chunks_exact(8)
                .take(16)
                .map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("eight")))
                .chain([0, 1, u64::MAX, 0xffff_ffff_8100_0100])
                .collect();
            let frames = symbols.frames(&stack);
            assert!(frames.len() <= stack.len());
            let _ = symbols.waiting(&stack);
        }
    }
});
