//! Probes, and all that is known of their sites here and now.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{anyhow, bail, ensure};
use object::read::archive::{ArchiveFile, ArchiveMember};
use object::{FileKind, ReadCache};
use ovs_tracers::show::message::cause;
use ovs_tracers::show::number::number;
use ovs_tracers::trace::object::Object;
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::usdt::{self, Form, Machine, Probes};
use serde::Serialize;

use crate::args::Pattern;
use crate::attached::{Attachment, Attachments};
use crate::code::{Code, Memory};

/// The files that were asked about, with their probes.
pub struct Listing {
    /// `process 12` or a path, for messages.
    of: String,
    process: Option<(u32, io::Result<Memory>)>,
    files: Vec<Source>,
    /// What cannot be listed, and why.
    pub warnings: Vec<String>,
}

/// A file with probes.
struct Source {
    path: String,
    file: File,
    /// Where it begins in `file`: a member of an archive does so further on.
    start: u64,
    form: Form,
    object: Option<Object>,
    probes: Vec<usdt::Probe>,
}

/// Why nothing can be attached to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The process has not mapped it from the file: it runs a copy.
    NotMapped,
    DebugFile,
    Relocatable,
}

/// A probe of one file.
pub struct Probe<'a> {
    pub pid: Option<u32>,
    pub object: &'a str,
    pub probe: &'a usdt::Probe,
    pub sites: Vec<Site<'a>>,
}

pub struct Site<'a> {
    pub site: &'a usdt::Site,
    pub obstacle: Option<Obstacle>,
    /// What is known of it in the file, or in the process.
    pub place: Place,
    /// The same where the process has loaded the library again.
    pub copies: Vec<Place>,
    pub attached: Vec<&'a Attachment>,
}

pub struct Place {
    /// Where it is in the process's memory.
    pub mapped: Option<u64>,
    pub code: io::Result<Code>,
    /// The semaphore's value in the process.
    pub semaphore: Option<u16>,
}

impl Site<'_> {
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.place).chain(&self.copies)
    }
}

impl Listing {
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let of = path.display().to_string();
        let unreadable = |error| anyhow!("failed to read {}: {}", path.display(), cause(&error));
        // To open a fifo would wait for a writer.
        ensure!(
            fs::metadata(path).map_err(unreadable)?.is_file(),
            "{of} is no regular file"
        );
        let file = File::open(path).map_err(unreadable)?;
        let mut listing = Self {
            of: of.clone(),
            process: None,
            files: Vec::new(),
            warnings: Vec::new(),
        };
        let cache = ReadCache::new(&file);
        if matches!(FileKind::parse(&cache), Ok(FileKind::Archive)) {
            let archive = ArchiveFile::parse(&cache);
            let archive = archive.map_err(|error| anyhow!("{of}: {error}"))?;
            for member in archive.members() {
                match member {
                    Ok(member) => listing.add_member(path, &cache, &file, &member),
                    Err(error) => listing.warnings.push(format!("{of}: {error}")),
                }
            }
        } else {
            let found = usdt::probes(&cache);
            let found = found.map_err(|error| anyhow!("{of}: {error}"))?;
            drop(cache);
            listing.add(of, file, None, found);
        }
        Ok(listing)
    }

    /// A member of the archive at `path`; that of a thin archive is a file of its own.
    fn add_member(
        &mut self,
        path: &Path,
        cache: &ReadCache<&File>,
        file: &File,
        member: &ArchiveMember<'_>,
    ) {
        let name = OsStr::from_bytes(member.name());
        let shown = format!("{}({})", path.display(), name.display());
        let (start, size) = member.file_range();
        let found = if member.is_thin() {
            let beside = path.with_file_name(name);
            let opened = File::open(&beside).map_err(|error| cause(&error).to_string());
            opened.and_then(|file| {
                let found = usdt::probes(&ReadCache::new(&file));
                Ok((found.map_err(|error| error.to_string())?, file, 0))
            })
        } else {
            let found = usdt::probes(cache.range(start, size));
            let found = found.map_err(|error| error.to_string());
            let file = file.try_clone().map_err(|error| cause(&error).to_string());
            found.and_then(|found| Ok((found, file?, start)))
        };
        match found {
            Ok((found, file, start)) => {
                self.add(shown, file, None, found);
                if let Some(added) = self.files.last_mut() {
                    added.start = start;
                }
            }
            Err(error) => self.warnings.push(format!("{shown}: {error}")),
        }
    }

    /// Every file that the process runs code of.
    pub fn of_process(target: &Target) -> anyhow::Result<Self> {
        let pid = target.pid();
        let objects = target.objects()?;
        let mut listing = Self {
            of: format!("process {pid}"),
            process: Some((pid, Memory::open(pid))),
            files: Vec::new(),
            warnings: Vec::new(),
        };
        for object in objects {
            let found = object
                .probes()
                .and_then(|found| Ok((found, object.open()?)));
            match found {
                // Mapped, but not to be run: a debugger does that.
                Ok((found, _)) if found.form != Form::Linked => {}
                Ok((found, file)) => {
                    let path = object.path.display().to_string();
                    listing.add(path, file, Some(object), found);
                }
                // Code need not come from an ELF file: a JIT compiler's comes from a memfd.
                Err(ovs_tracers::trace::Error::Usdt { .. }) if object.deleted => {}
                // What is mapped without code need not be a library.
                Err(_) if !object.has_code() => {}
                Err(error) => listing.warnings.push(error.to_string()),
            }
        }
        match Target::gone(std::slice::from_ref(target)) {
            Some(gone) => Err(gone.into()),
            None => Ok(listing),
        }
    }

    fn add(&mut self, path: String, file: File, object: Option<Object>, found: Probes) {
        let warnings = found.warnings.iter();
        self.warnings
            .extend(warnings.map(|warning| format!("{path}: {warning}")));
        if found.more_warnings > 0 {
            let more = number(found.more_warnings as u64, "more notes");
            self.warnings.push(format!("{path}: {more} cannot be used"));
        }
        self.files.push(Source {
            path,
            file,
            start: 0,
            form: found.form,
            object,
            probes: found.probes,
        });
    }

    /// Drops what does not match; it is an error if nothing matches.
    pub fn keep(&mut self, pattern: Option<&Pattern>) -> anyhow::Result<()> {
        let all = self.count();
        if all == 0 {
            bail!("no USDT probes in {}", self.of);
        }
        if let Some(pattern) = pattern {
            for file in &mut self.files {
                file.probes
                    .retain(|probe| pattern.matches(&probe.provider, &probe.name));
            }
            if self.count() == 0 {
                let probes = if all == 1 { "probe" } else { "probes" };
                bail!(
                    "nothing in {} matches; it has {all} {probes}\nwithout a pattern all are listed",
                    self.of
                );
            }
        }
        Ok(())
    }

    /// What nothing can be attached to, and why.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        let mut of_form = |form, why: &str| {
            let is_of = |file: &&Source| file.form == form && !file.probes.is_empty();
            if self.files.iter().any(|file| is_of(&file)) {
                obstacles.push(format!("nothing can be attached to {}: {why}", self.of));
            }
        };
        of_form(
            Form::DebugFile,
            "it is a debug file; the code is in the program or library that it was made of",
        );
        of_form(
            Form::Relocatable,
            "it is not linked; attach to the program or library that it becomes a part of",
        );
        for file in &self.files {
            let (Some(object), Some(pid)) = (&file.object, self.pid()) else {
                continue;
            };
            let sites = file.probes.iter().flat_map(|probe| &probe.sites);
            let moved = |site: &&usdt::Site| object.code(site.offset).next().is_none();
            let (all, moved) = (sites.clone().count(), sites.filter(moved).count());
            if moved > 0 {
                obstacles.push(format!(
                    "nothing can be attached to {moved} of the {all} sites in {}: \
                     process {pid} runs a copy of their code, which is not mapped from the file",
                    file.path
                ));
            }
        }
        obstacles
    }

    fn count(&self) -> usize {
        self.files.iter().map(|file| file.probes.len()).sum()
    }

    /// In the order of the files in memory; within one by provider and name.
    pub fn probes<'a>(&'a self, attachments: &'a Attachments) -> Vec<Probe<'a>> {
        let of_file = |source: &'a Source| {
            let here = attachments.of_file(&source.file, &source.path, self.pid());
            source.probes.iter().map(move |probe| Probe {
                pid: self.pid(),
                object: &source.path,
                probe,
                sites: probe
                    .sites
                    .iter()
                    .map(|site| self.site(source, probe.machine, site, &here))
                    .collect(),
            })
        };
        self.files.iter().flat_map(of_file).collect()
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }

    fn site<'a>(
        &self,
        source: &Source,
        machine: Machine,
        site: &'a usdt::Site,
        attachments: &[&'a Attachment],
    ) -> Site<'a> {
        let of_form = match source.form {
            Form::Linked => None,
            Form::DebugFile => Some(Obstacle::DebugFile),
            Form::Relocatable => Some(Obstacle::Relocatable),
        };
        let attached = attachments.iter().copied();
        let attached = attached
            .filter(|attachment| of_form.is_none() && attachment.offsets.contains(&site.offset));
        let unknown = |error| Place {
            mapped: None,
            code: Err(error),
            semaphore: None,
        };
        let (Some((_, memory)), Some(object)) = (&self.process, &source.object) else {
            let offset = source.start.saturating_add(site.offset);
            let code = Code::of_file(&source.file, offset, machine);
            return Site {
                site,
                obstacle: of_form,
                place: match of_form {
                    Some(Obstacle::DebugFile) => unknown(io::Error::other("there is none")),
                    _ => Place {
                        mapped: None,
                        code,
                        semaphore: None,
                    },
                },
                copies: Vec::new(),
                attached: attached.collect(),
            };
        };
        let places = object.code(site.offset).enumerate().map(|(copy, address)| {
            let memory = match memory {
                Ok(memory) => memory,
                Err(error) => {
                    let mapped = Some(address);
                    let code = Err(error.kind().into());
                    return Place {
                        mapped,
                        code,
                        semaphore: None,
                    };
                }
            };
            let file = &source.file;
            // Each copy has its own data, in the same order.
            let semaphore = site
                .semaphore
                .and_then(|offset| object.data(offset).nth(copy));
            Place {
                mapped: Some(address),
                code: Code::of_process(memory, address, file, site.offset, machine),
                semaphore: semaphore.and_then(|address| memory.semaphore(address)),
            }
        });
        let mut places = places.collect::<Vec<_>>().into_iter();
        let place = places.next();
        Site {
            site,
            obstacle: place.is_none().then_some(Obstacle::NotMapped),
            place: place.unwrap_or_else(|| unknown(io::Error::other("it is not mapped"))),
            copies: places.collect(),
            attached: attached.collect(),
        }
    }
}

/// What distinguishes a file from all others, as long as it exists.
pub fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
