//! A series of files in the manner of dumpcap: when to go on to the next one, and what they are called.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::run::output::{Error, Files, Identity, Output};

/// A value of dumpcap's option `-b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// `duration:TIME`: of the times that a file has events of.
    Duration(Duration),
    /// `filesize:KB`: in bytes here.
    Size(u64),
    /// `files:N`: the oldest are deleted.
    Files(usize),
}

impl Criterion {
    /// Whether it ends a file.
    pub fn ends(self) -> bool {
        !matches!(self, Self::Files(_))
    }
}

impl FromStr for Criterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("not duration:TIME, filesize:KB or files:N")?;
        let number = || match value.parse::<u32>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{name} takes a positive number")),
        };
        match name {
            "duration" => crate::cli::duration::parse(value).map(Self::Duration),
            // Of 1000 bytes, as dumpcap has them.
            "filesize" => Ok(Self::Size(u64::from(number()?) * 1000)),
            "files" => Ok(Self::Files(number()? as usize)),
            _ => Err("not duration:TIME, filesize:KB or files:N".to_string()),
        }
    }
}

/// The files of a capture: `NAME_00001_20261123105500.pcapng`, `NAME_00002_...`.
#[derive(Debug)]
pub struct Series {
    path: PathBuf,
    force: bool,
    duration: Option<Duration>,
    size: Option<u64>,
    keep: Option<usize>,
    number: u32,
    /// The last file.
    last: Option<Identity>,
    /// The files that this series keeps, the oldest first, each with what shows that it is still the same file. If all
    /// are kept, none is here.
    made: VecDeque<(PathBuf, Option<Identity>)>,
}

impl Series {
    pub fn new(path: &Path, force: bool, criteria: &[Criterion]) -> Self {
        let mut series = Self {
            path: path.to_path_buf(),
            force,
            duration: None,
            size: None,
            keep: None,
            number: 0,
            last: None,
            made: VecDeque::new(),
        };
        for criterion in criteria {
            match *criterion {
                Criterion::Duration(duration) => series.duration = Some(duration),
                Criterion::Size(size) => series.size = Some(size),
                Criterion::Files(count) => series.keep = Some(count),
            }
        }
        series
    }

    /// Whether a file is full that has `size` bytes, and whose events would span `length` with the next one.
    pub fn is_full(&self, size: u64, length: Duration) -> bool {
        self.size.is_some_and(|limit| size >= limit)
            || self.duration.is_some_and(|limit| length >= limit)
    }

    /// Creates the next file, when the one before is complete. If there are as many as are to be kept, it deletes the
    /// oldest first.
    pub fn next(&mut self, files: &mut Files) -> Result<Output, Error> {
        if let Some(last) = self.last.take() {
            files.release(last);
        }
        if let Some(keep) = self.keep {
            while self.made.len() >= keep {
                let Some((path, identity)) = self.made.pop_front() else {
                    break;
                };
                // A file that somebody else has put in its place is not deleted.
                if identity.is_some() && identity == self::identity(&path) {
                    let _ = fs::remove_file(path);
                }
            }
        }
        self.number = self.number % 99_999 + 1;
        let path = name(&self.path, self.number, &timestamp(SystemTime::now()));
        let file = files.create(&path, self.force)?;
        self.last = identity(&path);
        if self.keep.is_some() {
            self.made.push_back((path, self.last));
        }
        Ok(file)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// `dir/name.ext` becomes `dir/name_00001_20261123105500.ext`.
fn name(path: &Path, number: u32, timestamp: &str) -> PathBuf {
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("_{number:05}_{timestamp}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Local time, to the second.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(seconds.as_secs()).unwrap_or(libc::time_t::MAX);
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both point to what they are to point to; a `tm` of zeros is one, which stays if the year is too large.
    let local = unsafe {
        libc::localtime_r(&seconds, local.as_mut_ptr());
        local.assume_init()
    };
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        local.tm_year + 1900,
        local.tm_mon + 1,
        local.tm_mday,
        local.tm_hour,
        local.tm_min,
        local.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that criteria are read, and that the error for others says what they are.
    #[test]
    fn criteria() {
        let read = |text: &str| text.parse::<Criterion>();
        assert_eq!(
            read("duration:0.5"),
            Ok(Criterion::Duration(Duration::from_millis(500)))
        );
        assert_eq!(read("filesize:3"), Ok(Criterion::Size(3000)));
        assert_eq!(read("files:2"), Ok(Criterion::Files(2)));
        for wrong in [
            "",
            "files",
            "files:0",
            "filesize:-1",
            "duration:0",
            "packets:7",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// Check that names are made as dumpcap makes them: number and time before the extension, if there is one.
    #[test]
    fn names() {
        for (path, expected) in [
            ("out.pcapng", "out_00007_20261123105500.pcapng"),
            ("a.b/out", "a.b/out_00007_20261123105500"),
            (
                "/tmp/out.1.pcapng",
                "/tmp/out.1_00007_20261123105500.pcapng",
            ),
        ] {
            let name = name(Path::new(path), 7, "20261123105500");
            assert_eq!(name, Path::new(expected));
        }
    }

    /// Check that a series of which all files are kept takes no more memory with each of them.
    #[test]
    fn endless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series.pcapng");
        let mut files = Files::default();
        let size = [Criterion::Size(1000)];
        let mut series = Series::new(&path, false, &size);
        for _ in 0..20 {
            series.next(&mut files).unwrap();
            files.keep();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20);
        assert!(series.made.is_empty());
        assert_eq!(files.in_use(), 1);
    }

    /// Check that of the files made so many stay as were asked for, and that what has taken the place of one stays too.
    #[test]
    fn ring() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.pcapng");
        let mut files = Files::default();
        let mut series = Series::new(&path, false, &[Criterion::Files(2)]);
        let names = |series: &Series| -> Vec<PathBuf> {
            series.made.iter().map(|(path, _)| path.clone()).collect()
        };
        let exist = |paths: &[PathBuf]| paths.iter().map(|path| path.exists()).collect::<Vec<_>>();
        series.next(&mut files).unwrap();
        series.next(&mut files).unwrap();
        let first = names(&series);
        assert_eq!(exist(&first), [true, true]);
        series.next(&mut files).unwrap();
        assert_eq!(exist(&first), [false, true]);
        // Its inode must not be free for the one that comes in its place.
        fs::rename(&first[1], folder.path().join("moved")).unwrap();
        fs::write(&first[1], "another's").unwrap();
        series.next(&mut files).unwrap();
        assert_eq!(fs::read(&first[1]).unwrap(), b"another's");
        assert_eq!(exist(&names(&series)), [true, true]);
        files.keep();
    }
}
