//! The files that a tool reads and writes.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::show::message::cause;

const BUFFER: usize = 1 << 17;

/// A buffered output. Its owner flushes it whenever there is nothing more to write for now.
pub type Output = BufWriter<Box<dyn Write>>;

/// Why a file is not read or written. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} exists already\nuse another name, or --force to overwrite it", .0.display())]
    Exists(PathBuf),
    #[error("{} is in use already, as input or as another output\nuse another name", .0.display())]
    InUse(PathBuf),
    #[error("{} is a symbolic link\nname the file that it leads to", .0.display())]
    Link(PathBuf),
    #[error("failed to create {}: {}", path.display(), cause(source))]
    Create { path: PathBuf, source: io::Error },
    #[error("failed to open {}: {}", path.display(), cause(source))]
    Open { path: PathBuf, source: io::Error },
}

/// A file whose errors say which one it is: several outputs may be on disks of their own.
struct Named {
    path: PathBuf,
    file: File,
}

impl Named {
    fn explain(&self, error: &io::Error) -> io::Error {
        let text = format!("{}: {}", self.path.display(), cause(error));
        io::Error::new(error.kind(), text)
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| self.explain(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output. Not `io::stdout()`, which would write a line at a time.
pub fn stdout() -> io::Result<Output> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(BufWriter::with_capacity(BUFFER, Box::new(file)))
}

/// What shows that it is the same file: its device and its inode.
pub type Identity = (u64, u64);

/// The files that a run writes: none is opened twice, and those that it created are removed again unless it gets as far
/// as [`Files::keep`].
#[derive(Debug, Default)]
pub struct Files {
    used: Vec<Identity>,
    created: Vec<PathBuf>,
}

impl Files {
    /// Opens a file for reading, which is then not overwritten; "-" is standard input. Returns it and its size, if it
    /// has one.
    pub fn open(&mut self, path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Error> {
        if path == Path::new("-") {
            return Ok((Box::new(io::stdin()), None));
        }
        let opened = File::open(path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.map_err(|source| Error::Open {
            path: path.to_path_buf(),
            source,
        })?;
        self.used.push(identity(&metadata));
        let size = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(file), size))
    }

    /// Creates a file for its owner alone. A file that exists is not touched, unless `force` is given or it
    /// is a device or a named pipe.
    pub fn create(&mut self, path: &Path, force: bool) -> Result<Output, Error> {
        let failed = |source| Error::Create {
            path: path.to_path_buf(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let file = match options.clone().create_new(true).open(path) {
            Ok(file) => {
                self.created.push(path.to_path_buf());
                file
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let metadata = match fs::metadata(path) {
                    Ok(metadata) => metadata,
                    Err(_) if path.is_symlink() => return Err(Error::Link(path.to_path_buf())),
                    Err(error) => return Err(failed(error)),
                };
                let takes_all = |kind: FileType| kind.is_char_device() || kind.is_fifo();
                if takes_all(metadata.file_type()) {
                    let file = options.open(path).map_err(failed)?;
                    // What was opened may be another file than what was looked at.
                    let opened = file.metadata().map_err(failed)?;
                    if !takes_all(opened.file_type()) {
                        return Err(Error::Exists(path.to_path_buf()));
                    }
                    file
                } else {
                    self.overwrite(path, &metadata, force, &mut options)?
                }
            }
            Err(error) => return Err(failed(error)),
        };
        if let Ok(metadata) = file.metadata()
            && metadata.is_file()
        {
            self.used.push(identity(&metadata));
        }
        let path = path.to_path_buf();
        let file = Named { path, file };
        Ok(BufWriter::with_capacity(BUFFER, Box::new(file)))
    }

    /// Says that a file is complete and closed: another one may take its place, and its number.
    pub fn release(&mut self, file: Identity) {
        self.used.retain(|used| *used != file);
    }

    fn overwrite(
        &self,
        path: &Path,
        metadata: &Metadata,
        force: bool,
        options: &mut OpenOptions,
    ) -> Result<File, Error> {
        let failed = |source| Error::Create {
            path: path.to_path_buf(),
            source,
        };
        if self.used.contains(&identity(metadata)) {
            return Err(Error::InUse(path.to_path_buf()));
        }
        if !force {
            return Err(Error::Exists(path.to_path_buf()));
        }
        if path.is_symlink() {
            return Err(Error::Link(path.to_path_buf()));
        }
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        // What was opened may be another file than what was looked at.
        let opened = file.metadata().map_err(failed)?;
        if self.used.contains(&identity(&opened)) {
            return Err(Error::InUse(path.to_path_buf()));
        }
        file.set_len(0).map_err(failed)?;
        Ok(file)
    }

    /// How many files are in use.
    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Keeps the files created so far.
    pub fn keep(&mut self) {
        self.created.clear();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.created {
            let _ = fs::remove_file(path);
        }
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
