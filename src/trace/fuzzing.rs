//! Ways for the fuzz targets to the parsers of `/proc`, which take no bytes from anyone else.

use std::path::PathBuf;

use super::object::Object;
use super::process::{Process, Program, inner_of};

/// What is made of `/proc/PID/maps`. `program` is the path of the process's program and its inode.
pub fn objects(maps: &[u8], program: Option<(PathBuf, u64)>) -> Vec<Object> {
    let program = program.map(|(path, inode)| Program {
        path,
        deleted: false,
        inode,
    });
    Object::list(7, maps, program)
}

/// The process and its parent, by `/proc/PID/stat`, `status` and `cmdline`; and its id in its own pid namespace.
pub fn process(stat: &[u8], status: &[u8], cmdline: &[u8]) -> (Option<u32>, Option<u32>) {
    let process = Process::parse(stat, status, cmdline);
    let watched = process.map(|process| {
        let _ = (process.is_named_so(true), process.is_monitor());
        process.watched().unwrap_or(process.tgid)
    });
    (watched, inner_of(&String::from_utf8_lossy(status)))
}
