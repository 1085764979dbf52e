//! The files that a process runs code of.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use object::ReadCache;

use super::Error;
use super::process::{Program, proc};
use super::usdt::{self, Probes};

/// A file that a process runs code of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub(super) pid: u32,
    /// The path as the process saw it when it mapped the file, in its own mount namespace.
    pub path: PathBuf,
    /// Whether that path no longer leads to the file, after an upgrade for example.
    pub deleted: bool,
    /// Major and minor number of the device, as in `/proc/PID/maps`; on btrfs and overlayfs
    /// `stat` has other numbers.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// What of it is mapped, in the order of addresses. Nothing of it need be: a program can move all of itself to
    /// memory that is no file's, and no code of it: most move only that, to huge pages.
    pub mappings: Vec<Mapping>,
}

/// A part of a file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range<u64>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    pub executable: bool,
    pub writable: bool,
    /// Whether what is written to the file is not seen here, and the other way round.
    private: bool,
}

impl Mapping {
    /// Where an offset of the file is, if that is in this part.
    fn address(&self, offset: u64) -> Option<u64> {
        let inside = offset.checked_sub(self.offset)?;
        let address = self.range.start.checked_add(inside)?;
        self.range.contains(&address).then_some(address)
    }
}

impl Object {
    /// The distinct files of `/proc/PID/maps` of which the process runs code, or a copy of their code. `program` is
    /// its program, which comes first even if nothing of it is mapped.
    pub(super) fn list(pid: u32, maps: &[u8], program: Option<Program>) -> Vec<Self> {
        let mut objects: Vec<Object> = Vec::new();
        let mut known = HashMap::new();
        for object in maps
            .split(|&b| b == b'\n')
            .filter_map(|line| Object::parse(pid, line))
        {
            let index = *known
                .entry((object.inode, object.device))
                .or_insert(objects.len());
            match objects.get_mut(index) {
                Some(known) => known.mappings.extend(object.mappings),
                None => objects.push(object),
            }
        }
        let program = program.map(|program| {
            let is_program = |o: &Object| o.path == program.path && o.deleted == program.deleted;
            let position = objects.iter().position(is_program);
            match position {
                Some(position) => objects.remove(position),
                None => Object {
                    pid,
                    path: program.path,
                    deleted: program.deleted,
                    device: (0, 0),
                    inode: program.inode,
                    mappings: Vec::new(),
                },
            }
        });
        objects.retain(|object| object.has_code() || object.is_loaded());
        objects.splice(0..0, program);
        objects
    }

    /// Parses a line of `/proc/PID/maps` (`Documentation/filesystems/proc.rst`) into an object with this one mapping;
    /// `None` if it is not that of a file.
    fn parse(pid: u32, line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&b| b == b' ');
        let mut field = || str::from_utf8(fields.next()?).ok();
        let (start, end) = field()?.split_once('-')?;
        let perms = field()?;
        let offset = field()?;
        let (major, minor) = field()?.split_once(':')?;
        let inode = field()?.parse().ok()?;
        if inode == 0 {
            return None;
        }
        let path = fields.next()?.trim_ascii_start();
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let hex = |digits| u32::from_str_radix(digits, 16).ok();
        let long = |digits| u64::from_str_radix(digits, 16).ok();
        let mapping = Mapping {
            range: long(start)?..long(end)?,
            offset: long(offset)?,
            executable: perms.contains('x'),
            writable: perms.contains('w'),
            private: perms.contains('p'),
        };
        Some(Object {
            pid,
            path: unescape(path),
            deleted,
            device: (hex(major)?, hex(minor)?),
            inode,
            mappings: vec![mapping],
        })
    }

    /// Whether any of it is mapped as code.
    pub fn has_code(&self) -> bool {
        self.mappings.iter().any(|mapping| mapping.executable)
    }

    /// Whether it is mapped as a program or a library is, and not as data: in several parts.
    fn is_loaded(&self) -> bool {
        self.mappings
            .iter()
            .filter(|mapping| mapping.private)
            .count()
            > 1
    }

    /// The addresses at which an offset of the file is mapped as code: more than one if a library was loaded several
    /// times, by `dlmopen()`; none if the process does not run this code, or runs a copy of it.
    pub fn code(&self, offset: u64) -> impl Iterator<Item = u64> {
        let mappings = self.mappings.iter().filter(|mapping| mapping.executable);
        mappings.filter_map(move |mapping| mapping.address(offset))
    }

    /// The addresses at which an offset of the file is mapped as data, as [`Object::code`].
    pub fn data(&self, offset: u64) -> impl Iterator<Item = u64> {
        // Segments share the page at which one ends and the next begins: only the data can be written.
        let mappings = self.mappings.iter().filter(|mapping| mapping.writable);
        mappings.filter_map(move |mapping| mapping.address(offset))
    }

    /// A path that leads the kernel, and this program, to this very file for as long as the process runs:
    /// what a uprobe is attached to.
    ///
    /// # Errors
    /// [`Error::Permission`], [`Error::Replaced`], [`Error::Read`].
    pub fn attach_path(&self) -> Result<PathBuf, Error> {
        // This leads to the file whatever has become of its path, but takes CAP_CHECKPOINT_RESTORE.
        let mut failure = None;
        for Mapping { range, .. } in &self.mappings {
            let mapped = format!("map_files/{:x}-{:x}", range.start, range.end);
            let mapped = proc(self.pid, &mapped);
            match fs::metadata(&mapped) {
                Ok(_) => return Ok(mapped),
                Err(err) => failure.get_or_insert((mapped, err)),
            };
        }

        // No other file gets the inode number of a file that is mapped, so a new file at its path has
        // another one. The device must not be compared: see there.
        let root = proc(self.pid, "root");
        let rooted = root.join(self.path.strip_prefix("/").unwrap_or(&self.path));
        for path in [rooted, proc(self.pid, "exe")] {
            if fs::metadata(&path).is_ok_and(|file| file.ino() == self.inode) {
                return Ok(path);
            }
        }
        Err(match (fs::read_link(&root), failure) {
            (Err(_), Some((mapped, err))) => Error::read(mapped, err),
            (Err(err), None) => Error::read(root, err),
            // The process's files can be read, so the path leads to another file.
            (Ok(_), _) => Error::Replaced {
                pid: self.pid,
                path: self.path.clone(),
            },
        })
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// Those of [`Object::attach_path`].
    pub fn open(&self) -> Result<File, Error> {
        let path = self.attach_path()?;
        File::open(&path).map_err(|err| Error::read(path, err))
    }

    /// Reads the probes of the file, and little else of it.
    ///
    /// # Errors
    /// Those of [`Object::open`], and [`Error::Usdt`].
    pub fn probes(&self) -> Result<Probes, Error> {
        // The file is not mapped: whoever truncates a mapped file would kill this process.
        let cache = ReadCache::new(self.open()?);
        usdt::probes(&cache).map_err(|source| Error::Usdt {
            path: self.path.clone(),
            source,
        })
    }
}

/// Undoes what `/proc/PID/maps` does to a path: a line feed in it is written `\012`.
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match rest.strip_prefix(br"\012") {
            Some(after) => (b'\n', after),
            None => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    /// A program of `/proc/PID/exe`.
    fn program(path: &str, deleted: bool, inode: u64) -> Option<Program> {
        let path = path.into();
        Some(Program {
            path,
            deleted,
            inode,
        })
    }

    /// Addresses, offset, whether it is code.
    type Short = (Range<u64>, u64, bool);

    /// The paths of the objects, each with its mappings in short.
    fn listed(maps: &[u8], program: Option<Program>) -> Vec<(String, Vec<Short>)> {
        let objects = Object::list(7, maps, program).into_iter();
        let listed = objects.map(|object| {
            let mappings = object.mappings.into_iter();
            let short = |mapping: Mapping| (mapping.range, mapping.offset, mapping.executable);
            (
                object.path.display().to_string(),
                mappings.map(short).collect(),
            )
        });
        listed.collect()
    }

    /// Check that files with code are listed, once each with all their mappings, and data is not.
    ///
    /// Put together from `/proc/PID/maps` of several processes on Linux 6.18; addresses of the
    /// first line as on arm, with 32 bits.
    #[test]
    fn maps() {
        let maps = br"
00010000-00012000 r-xp 00000000 fd:01 11                                 /usr/sbin/ovs-vswitchd
00012000-00013000 r--p 00002000 fd:01 11                                 /usr/sbin/ovs-vswitchd
00013000-00014000 r-xp 00003000 fd:01 11                                 /usr/sbin/ovs-vswitchd
55d0c2a5a000-55d0c2a7b000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 r--p 00000000 fd:01 12                         /usr/lib/locale/C.utf8
7f0000001000-7f0000002000 r-xp 00001000 00:1f 11                         /a b (deleted) c (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0
7f0000003000-7f0000004000 r-xs 00000000 00:01 1033                       /memfd:a\012b (deleted)
7f0000005000-7f0000006000 rw-s 00000000 00:01 1034                       /dev/shm/data
7f0000006000-7f0000007000 rw-s 00001000 00:01 1034                       /dev/shm/data
7ffd4a5f2000-7ffd4a5f4000 r-xp 00000000 00:00 0                          [vdso]
7f0000005000-7f000000600
";
        let expected = [
            (
                "/usr/sbin/ovs-vswitchd".to_string(),
                vec![
                    (0x10000..0x12000, 0, true),
                    (0x12000..0x13000, 0x2000, false),
                    (0x13000..0x14000, 0x3000, true),
                ],
            ),
            (
                "/a b (deleted) c".into(),
                vec![(0x7f00_0000_1000..0x7f00_0000_2000, 0x1000, true)],
            ),
            (
                "/memfd:a\nb".into(),
                vec![(0x7f00_0000_3000..0x7f00_0000_4000, 0, true)],
            ),
        ];
        assert_eq!(listed(maps, None), expected);
        let objects = Object::list(7, maps, None);
        let facts = |o: &Object| (o.deleted, o.device, o.inode);
        assert_eq!(facts(&objects[0]), (false, (0xfd, 1), 11));
        assert_eq!(facts(&objects[1]), (true, (0, 0x1f), 11));
        // The path distinguishes files of the same number on two devices.
        let first = |program| listed(maps, program).remove(0).0;
        assert_eq!(
            first(program("/a b (deleted) c", true, 11)),
            "/a b (deleted) c"
        );
        assert_eq!(
            first(program("/usr/sbin/ovs-vswitchd", false, 11)),
            "/usr/sbin/ovs-vswitchd"
        );
        assert_eq!(first(program("/memfd:a\nb", true, 1033)), "/memfd:a\nb");
    }

    /// Check that a program and a library are listed of which no code is mapped, that the program is first even if
    /// nothing of it is mapped, and at which addresses their code is.
    ///
    /// As a program that has moved its code to anonymous memory has it on Linux 6.18; the library by hand.
    #[test]
    fn moved() {
        let maps = br"
7f0000001000-7f0000002000 r--p 00000000 fd:01 12                         /lib/libofproto.so
7f0000002000-7f0000003000 r-xp 00000000 00:00 0
7f0000003000-7f0000004000 rw-p 00002000 fd:01 12                         /lib/libofproto.so
7f0000005000-7f0000006000 r-xp 00001000 fd:01 13                         /lib/libc.so.6
7f0000006000-7f0000007000 rw-p 00002000 fd:01 13                         /lib/libc.so.6
7f0000008000-7f0000009000 r-xp 00001000 fd:01 13                         /lib/libc.so.6
7f0000009000-7f000000a000 rw-p 00002000 fd:01 13                         /lib/libc.so.6
";
        let program = program("/usr/sbin/ovs-vswitchd", false, 11);
        let objects = Object::list(7, maps, program);
        let [program, library, twice] = objects.as_slice() else {
            panic!("{objects:?}");
        };
        assert_eq!(program.path, Path::new("/usr/sbin/ovs-vswitchd"));
        assert_eq!((program.inode, program.has_code()), (11, false));
        assert_eq!(library.path, Path::new("/lib/libofproto.so"));
        assert_eq!(library.code(0x1234).count(), 0);
        assert_eq!(library.data(0x2234).collect::<Vec<_>>(), [0x7f00_0000_3234]);
        assert_eq!(
            twice.code(0x1fff).collect::<Vec<_>>(),
            [0x7f00_0000_5fff, 0x7f00_0000_8fff]
        );
        assert_eq!(twice.code(0x2000).count(), 0);
        assert_eq!(
            twice.data(0x2000).collect::<Vec<_>>(),
            [0x7f00_0000_6000, 0x7f00_0000_9000]
        );
    }

    /// Check that a process which has mapped very many files takes no time that grows with the square of their number.
    ///
    /// Before, these took 10 seconds and more.
    #[test]
    fn many_files() {
        const COUNT: u64 = 200_000;
        let line = |i| format!("{i:x}000-{i:x}fff r-xp 00000000 fd:01 {i} /f{i}\n");
        let maps: String = (1..=COUNT).map(line).collect();
        let started = Instant::now();
        let objects = Object::list(7, maps.repeat(2).as_bytes(), None);
        let took = started.elapsed();
        assert!(objects.iter().all(|object| object.mappings.len() == 2));
        assert!(objects.iter().map(|object| object.inode).eq(1..=COUNT));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
