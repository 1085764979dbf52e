//! The files that a process has mapped as code.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use object::ReadCache;

use super::Error;
use super::process::proc;
use super::usdt::{self, Probes};

/// A file that a process has mapped as code.
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
    /// Addresses of the first executable mapping.
    pub range: Range<u64>,
}

impl Object {
    /// The distinct files of `/proc/PID/maps`.
    pub(super) fn list(pid: u32, maps: &[u8]) -> Vec<Self> {
        let mut objects: Vec<Object> = Vec::new();
        for object in maps
            .split(|&b| b == b'\n')
            .filter_map(|line| Object::parse(pid, line))
        {
            let known = |o: &Object| (o.inode, o.device) == (object.inode, object.device);
            if !objects.iter().any(known) {
                objects.push(object);
            }
        }
        objects
    }

    /// Parses a line of `/proc/PID/maps` (`Documentation/filesystems/proc.rst`); `None` if it is
    /// not a file's code.
    fn parse(pid: u32, line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&b| b == b' ');
        let mut field = || str::from_utf8(fields.next()?).ok();
        let (start, end) = field()?.split_once('-')?;
        let perms = field()?;
        let _offset = field()?;
        let (major, minor) = field()?.split_once(':')?;
        let inode = field()?.parse().ok()?;
        if !perms.contains('x') || inode == 0 {
            return None;
        }
        let path = fields.next()?.trim_ascii_start();
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let hex = |digits| u32::from_str_radix(digits, 16).ok();
        let address = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Object {
            pid,
            path: unescape(path),
            deleted,
            device: (hex(major)?, hex(minor)?),
            inode,
            range: address(start)?..address(end)?,
        })
    }

    /// A path that leads the kernel, and us, to this very file for as long as the process runs:
    /// what a uprobe is attached to.
    ///
    /// # Errors
    /// [`Error::Permission`], [`Error::Replaced`], [`Error::Read`].
    pub fn attach_path(&self) -> Result<PathBuf, Error> {
        // This leads to the file whatever has become of its path, but takes CAP_CHECKPOINT_RESTORE.
        let mapped = format!("map_files/{:x}-{:x}", self.range.start, self.range.end);
        let mapped = proc(self.pid, &mapped);
        let Err(err) = fs::metadata(&mapped) else {
            return Ok(mapped);
        };

        // No other file gets the inode number of a file that is mapped, so a new file at its path has
        // another one. The device must not be compared: see there.
        let root = proc(self.pid, "root");
        let rooted = root.join(self.path.strip_prefix("/").unwrap_or(&self.path));
        for path in [rooted, proc(self.pid, "exe")] {
            if fs::metadata(&path).is_ok_and(|file| file.ino() == self.inode) {
                return Ok(path);
            }
        }
        Err(match fs::read_link(&root) {
            // The process's files can be read, so the path leads to another file.
            Ok(_) => Error::Replaced {
                pid: self.pid,
                path: self.path.clone(),
            },
            Err(_) => Error::read(mapped, err),
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
        // The file is not mapped: whoever truncates a mapped file would kill us.
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
    use super::*;

    /// Check that code of files is listed, once for each file, and nothing else.
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
7ffd4a5f2000-7ffd4a5f4000 r-xp 00000000 00:00 0                          [vdso]
7f0000005000-7f000000600
";
        let object = |path: &str, deleted, device, inode, range| {
            let path = path.into();
            Object {
                pid: 7,
                path,
                deleted,
                device,
                inode,
                range,
            }
        };
        assert_eq!(
            Object::list(7, maps),
            [
                object(
                    "/usr/sbin/ovs-vswitchd",
                    false,
                    (0xfd, 1),
                    11,
                    0x10000..0x12000
                ),
                object(
                    "/a b (deleted) c",
                    true,
                    (0, 0x1f),
                    11,
                    0x7f0000001000..0x7f0000002000
                ),
                object(
                    "/memfd:a\nb",
                    true,
                    (0, 1),
                    1033,
                    0x7f0000003000..0x7f0000004000
                ),
            ]
        );
    }
}
