//! Who has a site attached, as far as the kernel says: BPF links, perf events with a BPF program, and tracefs.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::libbpf_sys;
use libbpf_rs::query::{LinkInfo, LinkTypeInfo, PerfEventType, ProgInfoIter};
use ovs_tracers::show::message::cause;
use serde::Serialize;

use crate::listing::identity;

/// Everything attached to any file.
#[derive(Default)]
pub struct Attachments {
    all: Vec<Attachment>,
    /// What the kernel did not list, and what it takes to see that: for a message.
    pub unknown: Vec<String>,
}

/// What is attached to some places of a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    pub by: By,
    /// Of the BPF link.
    pub link: Option<u32>,
    /// Name of the BPF program, or of the tracefs event.
    pub program: Option<String>,
    /// The only process that it is attached in.
    pub pid: Option<u32>,
    /// Who holds it.
    pub holders: Vec<Holder>,
    #[serde(skip)]
    program_id: u32,
    /// As it was given to the kernel, or as the kernel sees it from here.
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    pub offsets: Vec<u64>,
}

/// What it is attached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    UprobeMulti,
    PerfEvent,
    Tracefs,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub pid: u32,
    pub comm: String,
}

impl Attachments {
    /// Asks the kernel for all of them.
    pub fn query() -> Self {
        let mut found = Self::default();
        let programs: Vec<(u32, String)> = ProgInfoIter::default()
            .map(|program| (program.id, program.name.to_string_lossy().into_owned()))
            .collect();
        let descriptors = Descriptor::all();
        found.links(&descriptors);
        found.perf_events(&descriptors);
        for attachment in &mut found.all {
            let known = programs.iter().find(|(id, _)| *id == attachment.program_id);
            attachment.program = known.map(|(_, name)| name.clone());
        }
        found.tracefs();
        found
    }

    fn links(&mut self, descriptors: &[Descriptor]) {
        let mut id = 0;
        loop {
            // SAFETY: it writes one u32.
            let result = unsafe { libbpf_sys::bpf_link_get_next_id(id, &raw mut id) };
            if result < 0 {
                match io::Error::from_raw_os_error(-result) {
                    end if end.kind() == io::ErrorKind::NotFound => {}
                    error => self.unknown.push(match error.kind() {
                        io::ErrorKind::PermissionDenied => "BPF links (CAP_SYS_ADMIN)".into(),
                        _ => format!("BPF links ({})", cause(&error)),
                    }),
                }
                return;
            }
            // SAFETY: no pointers.
            let fd = unsafe { libbpf_sys::bpf_link_get_fd_by_id(id) };
            if fd < 0 {
                // Gone since.
                continue;
            }
            // SAFETY: the descriptor is new and nobody else's.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            if let Ok(link) = LinkInfo::from_fd(fd.as_fd()) {
                self.link(&link, descriptors);
            }
        }
    }

    fn link(&mut self, link: &LinkInfo, descriptors: &[Descriptor]) {
        let (by, path, offsets, pid) = match &link.info {
            LinkTypeInfo::UprobeMulti(info) => match &info.path {
                Some(path) => (
                    By::UprobeMulti,
                    path.clone(),
                    info.offsets.clone(),
                    info.pid,
                ),
                None => {
                    self.unknown.push(format!(
                        "uprobe-multi link {} (Linux 6.8 and later list it)",
                        link.id
                    ));
                    return;
                }
            },
            LinkTypeInfo::PerfEvent(info) => match &info.event_type {
                PerfEventType::Uprobe {
                    file_name: Some(path),
                    offset,
                    ..
                } => (By::PerfEvent, path.into(), vec![u64::from(*offset)], 0),
                _ => return,
            },
            _ => return,
        };
        let holders = descriptors.iter();
        let holders = holders.filter(|descriptor| descriptor.link == Some(link.id));
        let mut attachment = Attachment {
            by,
            link: Some(link.id),
            program: None,
            pid: (pid != 0).then_some(pid),
            holders: holders
                .map(|descriptor| descriptor.holder.clone())
                .collect(),
            program_id: link.prog_id,
            path,
            offsets,
        };
        attachment.holders.dedup();
        self.all.push(attachment);
    }

    /// Perf events whose program came by an ioctl and not by a link: bcc's, and all before Linux 5.15.
    fn perf_events(&mut self, descriptors: &[Descriptor]) {
        for descriptor in descriptors.iter().filter(|d| d.link.is_none()) {
            let Some(event) = PerfEvent::query(descriptor) else {
                continue;
            };
            let same = |known: &&mut Attachment| {
                known.by == By::PerfEvent
                    && known.program_id == event.program
                    && known.path == event.path
                    && known.offsets == [event.offset]
            };
            match self.all.iter_mut().find(same) {
                // libbpf's: the link is known, and so is who holds it.
                Some(Attachment { link: Some(_), .. }) => {}
                // An event for each CPU.
                Some(known) => {
                    if !known.holders.contains(&descriptor.holder) {
                        known.holders.push(descriptor.holder.clone());
                    }
                }
                None => self.all.push(Attachment {
                    by: By::PerfEvent,
                    link: None,
                    program: None,
                    pid: None,
                    holders: vec![descriptor.holder.clone()],
                    program_id: event.program,
                    path: event.path,
                    offsets: vec![event.offset],
                }),
            }
        }
    }

    fn tracefs(&mut self) {
        let events = fs::read("/sys/kernel/tracing/uprobe_events");
        let events = events.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => fs::read("/sys/kernel/debug/tracing/uprobe_events"),
            _ => Err(error),
        });
        // The names of files are of any bytes.
        let events = events.map(|events| String::from_utf8_lossy(&events).into_owned());
        match events {
            Ok(events) => self.all.extend(events.lines().filter_map(tracefs_event)),
            Err(error) => self.unknown.push(match error.kind() {
                io::ErrorKind::PermissionDenied => "events of tracefs (root)".into(),
                io::ErrorKind::NotFound => "events of tracefs (not mounted)".into(),
                _ => format!("events of tracefs ({})", cause(&error)),
            }),
        }
    }

    /// What is attached to `file`, for all or for process `pid`.
    pub fn of_file(&self, file: &File, path: &str, pid: Option<u32>) -> Vec<&Attachment> {
        let Ok(metadata) = file.metadata() else {
            return Vec::new();
        };
        let is_file = |path: &Path| {
            fs::metadata(path).is_ok_and(|found| identity(&found) == identity(&metadata))
        };
        let is_attached_to = |attachment: &Attachment| {
            if is_file(&attachment.path) {
                return true;
            }
            let Some(pid) = pid else {
                return false;
            };
            // In the process's own mount namespace, or deleted since.
            let inside = attachment
                .path
                .strip_prefix("/")
                .unwrap_or(&attachment.path);
            let deleted = format!("{path} (deleted)");
            is_file(&Path::new(&format!("/proc/{pid}/root")).join(inside))
                || attachment.path == Path::new(&deleted)
        };
        let mut attached: Vec<_> = self.all.iter().collect();
        attached.retain(|attachment| {
            (pid.is_none() || attachment.pid.is_none() || attachment.pid == pid)
                && is_attached_to(attachment)
        });
        attached
    }
}

/// A line of `uprobe_events` (`Documentation/trace/uprobetracer.rst`):
/// `p:probes/name /usr/bin/x:0x0000000000001234(0x5678) arg1=%ax`.
fn tracefs_event(line: &str) -> Option<Attachment> {
    let mut words = line.split_ascii_whitespace();
    let (_, event) = words.next()?.split_once(':')?;
    let (path, offset) = words.next()?.rsplit_once(":0x")?;
    let end = offset.find(|c: char| !c.is_ascii_hexdigit());
    let offset = u64::from_str_radix(&offset[..end.unwrap_or(offset.len())], 16).ok()?;
    Some(Attachment {
        by: By::Tracefs,
        link: None,
        program: Some(event.into()),
        pid: None,
        holders: Vec::new(),
        program_id: 0,
        path: path.into(),
        offsets: vec![offset],
    })
}

/// A BPF link or a perf event that a process has open.
struct Descriptor {
    holder: Holder,
    fd: i32,
    link: Option<u32>,
}

impl Descriptor {
    /// Those of all the processes whose descriptors can be read.
    fn all() -> Vec<Self> {
        let numbers = |folder: &str| -> Vec<u32> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        };
        let mut found = Vec::new();
        for pid in numbers("/proc") {
            for fd in numbers(&format!("/proc/{pid}/fd")) {
                let Ok(target) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else {
                    continue;
                };
                let link = match target.to_str() {
                    Some("anon_inode:bpf_link" | "anon_inode:bpf-link") => {
                        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"));
                        match info.ok().and_then(|info| link_id(&info)) {
                            Some(id) => Some(id),
                            None => continue,
                        }
                    }
                    Some("anon_inode:[perf_event]") => None,
                    _ => continue,
                };
                let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
                let comm = String::from_utf8_lossy(&comm);
                found.push(Self {
                    holder: Holder {
                        pid,
                        comm: comm.trim_end().into(),
                    },
                    fd: fd.cast_signed(),
                    link,
                });
            }
        }
        found
    }
}

fn link_id(fdinfo: &str) -> Option<u32> {
    let id = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("link_id:"))?;
    id.trim_ascii().parse().ok()
}

/// A uprobe by perf event, with a BPF program.
struct PerfEvent {
    program: u32,
    path: PathBuf,
    offset: u64,
}

impl PerfEvent {
    /// `None` if this is not such an event, or it has no program.
    fn query(descriptor: &Descriptor) -> Option<Self> {
        let mut path = [0_u8; 4096];
        let mut len = path.len() as u32;
        let (mut program, mut kind, mut offset, mut address) = (0, 0, 0, 0);
        // SAFETY: `path` has `len` bytes, and the others are what they point to.
        let result = unsafe {
            libbpf_sys::bpf_task_fd_query(
                descriptor.holder.pid.cast_signed(),
                descriptor.fd,
                0,
                path.as_mut_ptr().cast(),
                &raw mut len,
                &raw mut program,
                &raw mut kind,
                &raw mut offset,
                &raw mut address,
            )
        };
        let uprobes = [
            libbpf_sys::BPF_FD_TYPE_UPROBE,
            libbpf_sys::BPF_FD_TYPE_URETPROBE,
        ];
        if result < 0 || !uprobes.contains(&kind) {
            return None;
        }
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        Some(Self {
            program,
            path: path.to_string_lossy().into_owned().into(),
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the events of tracefs are read, with and without a semaphore, and other lines are not.
    ///
    /// Written to and read back from `uprobe_events` on Linux 6.18.
    #[test]
    fn tracefs_events() {
        let event = |line| {
            tracefs_event(line).map(|event| {
                let name = event.program.unwrap_or_default();
                (name, event.path, event.offsets)
            })
        };
        assert_eq!(
            event("p:ovs/recv /usr/sbin/ovs-vswitchd:0x00000000000b23e9"),
            Some((
                "ovs/recv".into(),
                "/usr/sbin/ovs-vswitchd".into(),
                vec![0xb23e9]
            ))
        );
        assert_eq!(
            event("r:a/b /opt/x:0x1:0x0000000000001234(0x4018) arg1=%ax:u64"),
            Some(("a/b".into(), "/opt/x:0x1".into(), vec![0x1234]))
        );
        for line in ["", "p:a/b", "p /x", "p:a/b /x", "p:a/b /x:0xg"] {
            assert_eq!(event(line), None, "{line}");
        }
    }

    /// Check that the number of a link is found in what /proc says of it, on Linux 6.18.
    #[test]
    fn link_ids() {
        let fdinfo = "pos:\t0\nflags:\t02000000\nmnt_id:\t16\nino:\t27\nlink_type:\tuprobe_multi\nlink_id:\t21\nprog_id:\t92\n";
        assert_eq!(link_id(fdinfo), Some(21));
        assert_eq!(link_id("pos:\t0\n"), None);
    }
}
