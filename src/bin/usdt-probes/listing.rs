//! Probes, and all that is known of their sites here and now.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{anyhow, bail, ensure};
use object::ReadCache;
use ovs_tracers::show::message::cause;
use ovs_tracers::trace::object::Object;
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::usdt::{self, Machine, Probes};

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
    object: Option<Object>,
    probes: Vec<usdt::Probe>,
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
    /// Where it is in the process's memory.
    pub mapped: Option<u64>,
    pub code: io::Result<Code>,
    /// The semaphore's value in the process.
    pub semaphore: Option<u16>,
    pub attached: Vec<&'a Attachment>,
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
        let found = usdt::probes(&ReadCache::new(&file));
        let found = found.map_err(|error| anyhow!("{of}: {error}"))?;
        let mut listing = Self {
            of,
            process: None,
            files: Vec::new(),
            warnings: Vec::new(),
        };
        listing.add(path.display().to_string(), file, None, found);
        Ok(listing)
    }

    /// Every file that the process has mapped as code.
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
                Ok((found, file)) => {
                    let path = object.path.display().to_string();
                    listing.add(path, file, Some(object), found);
                }
                // Code need not come from an ELF file: a JIT compiler's comes from a memfd.
                Err(ovs_tracers::trace::Error::Usdt { .. }) if object.deleted => {}
                Err(error) => listing.warnings.push(error.to_string()),
            }
        }
        Ok(listing)
    }

    fn add(&mut self, path: String, file: File, object: Option<Object>, found: Probes) {
        let warnings = found.warnings.iter();
        self.warnings
            .extend(warnings.map(|warning| format!("{path}: {warning}")));
        self.files.push(Source {
            path,
            file,
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
        let attached = attachments.iter().copied();
        let mut described = Site {
            site,
            mapped: None,
            code: Code::of_file(&source.file, site.offset, machine),
            semaphore: None,
            attached: attached
                .filter(|attachment| attachment.offsets.contains(&site.offset))
                .collect(),
        };
        let (Some((_, memory)), Some(object)) = (&self.process, &source.object) else {
            return described;
        };
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => {
                described.code = Err(error.kind().into());
                return described;
            }
        };
        described.mapped = memory.code(object, site.offset);
        described.code = match described.mapped {
            Some(address) => Code::of_process(memory, address, &source.file, site.offset, machine),
            None => Err(io::Error::other("the process has not mapped it")),
        };
        described.semaphore = site
            .semaphore
            .and_then(|offset| memory.semaphore(object, offset));
        described
    }
}

/// What distinguishes a file from all others, as long as it exists.
pub fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
