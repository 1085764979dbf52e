//! The traced process: which one it is, what code it runs, and where a probe of it is.
//!
//! Everything is read through `/proc/PID`, so a process in a container, or one whose files have
//! been replaced by an upgrade since it started, is seen as it is and not as the path says.
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::object::Object;
use super::process::{Process, Program, find_ovs_vswitchd, has_exited, inner_id, proc};
use super::usdt::{self, Form, Probe, Probes};
use super::{Error, kernel};

/// Providers of the C and C++ run-time libraries. Their probes do not show how Open vSwitch was
/// built.
const RUNTIME_PROVIDERS: [&str; 5] = ["libc", "libm", "libpthread", "libstdcxx", "rtld"];

/// A running process.
#[derive(Debug)]
pub struct Target {
    pid: u32,
    pidfd: OwnedFd,
}

/// Readable once the process has exited.
impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Target {
    /// The process with this id, as seen from this program's own pid namespace.
    ///
    /// # Errors
    /// [`Error::NoProcess`], [`Error::Thread`], [`Error::Exited`]; [`Error::Permission`] where `/proc` hides other users'
    /// processes; [`Error::Read`] where the kernel has no `pidfd_open` (before 5.3) or a sandbox forbids it.
    pub fn from_pid(pid: u32) -> Result<Self, Error> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Error::NoProcess(pid))?;
        let process = Process::look_at(pid)?.ok_or(Error::NoProcess(pid))?;
        if process.tgid != pid {
            return Err(Error::Thread {
                tid: pid,
                pid: process.tgid,
            });
        }
        if process.exited {
            return Err(Error::Exited(pid));
        }
        if process.is_monitor() {
            let child = process.watched();
            return Err(Error::Monitor { pid, child });
        }
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Target { pid, pidfd }),
            Err(rustix::io::Errno::SRCH) => Err(Error::NoProcess(pid)),
            Err(err) => Err(Error::Read {
                path: proc(pid, ""),
                source: err.into(),
            }),
        }
    }

    /// The process with this id, or else the only ovs-vswitchd that runs.
    ///
    /// # Errors
    /// Those of [`Target::from_pid`] and [`find_ovs_vswitchd`].
    pub fn find(pid: Option<u32>) -> Result<Self, Error> {
        Self::from_pid(pid.map_or_else(find_ovs_vswitchd, Ok)?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has exited, or is about to.
    pub fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        let exited = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        exited || has_exited(self.pid)
    }

    /// [`Error::Gone`] if one of the processes has exited, which then is why something else failed.
    pub fn gone(targets: &[Self]) -> Option<Error> {
        let gone = targets.iter().find(|target| target.has_exited())?;
        Some(Error::Gone(gone.pid))
    }

    /// The inode number of its network namespace, by which the kernel's own structures identify it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Permission`], [`Error::Gone`].
    pub fn network_namespace(&self) -> Result<u32, Error> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.pid));
        let metadata = fs::metadata(&path);
        let metadata = metadata.map_err(|err| Error::read(&path, err).or_gone(&[self.pid]))?;
        Ok(u32::try_from(metadata.ino()).unwrap_or_default())
    }

    /// Writes the ids of processes to where `bpf/process.bpf.h` looks for them. The kernel's programs compare them with
    /// the id of the current process.
    ///
    /// A program can ask for an id in the first pid namespace, or in the one that the current process is in. So where
    /// this program is not in the first one, ids are those of the namespace that the process is in, perhaps another.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Permission`], [`Error::Gone`].
    pub fn install(
        targets: &[Self],
        ids: &mut [u32],
        namespaces: &mut [[u64; 2]],
    ) -> Result<(), Error> {
        let own = kernel::pid_namespace();
        for ((id, namespace), target) in ids.iter_mut().zip(namespaces).zip(targets) {
            *id = target.pid;
            let Some(own) = own else { continue };
            *namespace = own.into();
            if let Some(inner) = inner_id(target.pid)? {
                let path = proc(target.pid, "ns/pid");
                let metadata = fs::metadata(&path);
                let metadata =
                    metadata.map_err(|err| Error::read(&path, err).or_gone(&[target.pid]))?;
                *id = inner;
                *namespace = [metadata.dev(), metadata.ino()];
            }
        }
        Ok(())
    }

    /// Every file that the process runs code of, once each: its program, then the libraries in the order of addresses.
    /// Of a file whose code was moved to other memory, no code is mapped.
    ///
    /// # Errors
    /// [`Error::Permission`] for another user's process, [`Error::NoObjects`] for a kernel thread, [`Error::Gone`],
    /// [`Error::Read`].
    pub fn objects(&self) -> Result<Vec<Object>, Error> {
        let pids = &[self.pid];
        let path = proc(self.pid, "maps");
        let maps = fs::read(&path).map_err(|err| Error::read(path, err).or_gone(pids))?;
        let objects = Object::list(self.pid, &maps, Program::of(self.pid));
        if objects.is_empty() {
            Err(Error::NoObjects(self.pid).or_gone(pids))
        } else {
            Ok(objects)
        }
    }

    /// The files that have the probe `provider:name`, and the probe: at least one, and more than
    /// one if the process runs several versions of a library. Nothing can be attached to a site of it that the process
    /// has not mapped as code ([`Object::code`]); to at least one site it can, and [`Target::moved`] says if not to all.
    ///
    /// # Errors
    /// Those of [`Target::objects`]; [`Error::Moved`] if no site is mapped. If no file has the probe: what kept the
    /// first file from being read, or [`Error::Usdt`] if its note is of no use, or [`Error::NoProbes`], or
    /// [`Error::NoProbe`].
    pub fn find_probe(&self, provider: &str, name: &str) -> Result<Vec<(Object, Probe)>, Error> {
        let objects = self.objects()?;
        let executable = objects[0].path.clone();
        let mut found = Vec::new();
        let mut present = Vec::new();
        let mut failure = None;
        for object in objects {
            let Probes {
                probes, warnings, ..
            } = match object.probes() {
                Ok(found) if found.form != Form::Linked => continue,
                Ok(found) => found,
                // Code need not come from an ELF file: a JIT compiler's comes from a memfd.
                Err(Error::Usdt { .. }) => continue,
                // What is mapped without code need not be a library.
                Err(_) if !object.has_code() && object.path != executable => continue,
                Err(err) => {
                    failure.get_or_insert(err);
                    continue;
                }
            };
            let unusable = |warning: &usdt::Error| {
                matches!(warning, usdt::Error::Unmapped { provider: p, name: n, .. }
                    if p == provider && n == name)
            };
            if let Some(source) = warnings.into_iter().find(unusable) {
                failure.get_or_insert(Error::Usdt {
                    path: object.path.clone(),
                    source,
                });
            }
            for probe in probes {
                if probe.provider == provider && probe.name == name {
                    found.push((object.clone(), probe));
                } else if !RUNTIME_PROVIDERS.contains(&probe.provider.as_str()) {
                    present.push(format!("{}:{}", probe.provider, probe.name));
                }
            }
        }
        let pid = self.pid;
        if !found.is_empty() {
            return match self.moved(&found) {
                Some(error @ Error::Moved { moved, of, .. }) if moved == of => Err(error),
                _ => Ok(found),
            };
        }
        let error = match failure {
            Some(failure) => failure,
            None if present.is_empty() => Error::NoProbes {
                pid,
                path: executable,
            },
            None => Error::NoProbe {
                pid,
                probe: format!("{provider}:{name}"),
                present,
            },
        };
        // The files of a process are gone once it has exited.
        Err(error.or_gone(&[pid]))
    }

    /// An [`Error::Moved`] if the process has not mapped all sites of a probe that was found as code.
    pub fn moved(&self, found: &[(Object, Probe)]) -> Option<Error> {
        let sites = found.iter().flat_map(|(object, probe)| {
            let sites = probe.sites.iter();
            sites.map(move |site| (object, site))
        });
        let mut moved = sites
            .clone()
            .filter(|(object, site)| object.code(site.offset).next().is_none());
        let (object, _) = moved.next()?;
        let (_, probe) = found.first()?;
        Some(Error::Moved {
            pid: self.pid,
            path: object.path.clone(),
            probe: format!("{}:{}", probe.provider, probe.name),
            moved: 1 + moved.count(),
            of: sites.count(),
        })
    }
}
