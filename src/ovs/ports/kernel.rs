//! What is asked of the kernel by generic netlink, and how long an answer is waited for.
//!
//! An answer that is late, cut or disturbed is an error: nobody may take what is not in it for something that does not
//! exist.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::consts::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_bindings::{nlctrl, ovs_datapath, ovs_vport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::message::{Answer, datapath, datapaths_request, family, group, vport, vports_request};
use super::{Error, KERNEL_DATAPATH, OVS_VPORT_MCGROUP};

/// `GENL_ID_CTRL` (`linux/genetlink.h`): the family that lists the families.
pub(super) const GENL_ID_CTRL: u16 = 0x10;

/// As long as the longest datagram that the kernel makes for a dump (`netlink_dump()`), and to
/// spare.
const BUFFER_LEN: usize = 64 * 1024;

/// Until when answers are waited for.
pub(super) struct Deadline {
    begun: Instant,
    patience: Duration,
}

impl Deadline {
    pub(super) fn within(patience: Duration) -> Self {
        Self {
            begun: Instant::now(),
            patience,
        }
    }

    /// The time that remains.
    ///
    /// # Errors
    /// If none does.
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.patience.saturating_sub(self.begun.elapsed());
        if remaining.is_zero() {
            let text = format!("no whole answer within {} s", self.patience.as_secs_f64());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(remaining)
    }

    fn check(&self) -> io::Result<()> {
        self.remaining().map(drop)
    }
}

/// What is known of the two families.
#[derive(Clone, Copy, Debug)]
pub(super) struct Families {
    datapath: u16,
    vport: u16,
    /// The multicast group of ports that come and go.
    changes: Option<u32>,
}

/// A generic netlink socket for questions, and another for what the kernel reports by itself: messages
/// of both kinds may have the same sequence numbers.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
    pub(super) changes: OwnedFd,
    /// The multicast group that `changes` is in.
    group: Option<u32>,
}

/// What the kernel lists.
pub(super) enum Listed<'a> {
    Datapath,
    /// A port of this number and name.
    Port(u32, &'a CStr),
}

impl Socket {
    /// In the network namespace of process `pid`.
    pub(super) fn open(pid: u32) -> Result<Self, Error> {
        let namespace_error = move |source| Error::Namespace { pid, source };
        let open_sockets = || Ok((open_socket()?, open_socket()?));
        let (fd, changes) = match foreign_namespace(pid) {
            Ok(None) => open_sockets().map_err(Error::Ports)?,
            // A socket stays in the namespace of the thread that opened it, and the thread stays in
            // the namespace that it entered: so it must be one of its own.
            Ok(Some(namespace)) => thread::Builder::new()
                .spawn(move || {
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(namespace.as_fd(), network)
                        .map_err(|source| namespace_error(source.into()))?;
                    open_sockets().map_err(Error::Ports)
                })
                .map_err(Error::Ports)?
                .join()
                .map_err(|_| io::Error::other("the thread that opens the socket panicked"))
                .map_err(Error::Ports)??,
            Err(source) => return Err(namespace_error(source)),
        };
        Ok(Self::new(fd, changes))
    }

    pub(super) fn new(fd: OwnedFd, changes: OwnedFd) -> Self {
        Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER_LEN].into(),
            changes,
            group: None,
        }
    }

    /// Calls `each` with the number and the name of each family, and what else the kernel says of it.
    pub(super) fn for_each_family(
        &mut self,
        deadline: &Deadline,
        mut each: impl FnMut(u16, &CStr, &[u8]),
    ) -> io::Result<()> {
        let mut request = Vec::new();
        nlctrl::OpGetfamilyDump::encode_request(&mut request);
        self.dump(GENL_ID_CTRL, &request, deadline, |payload| {
            let (id, name) = family(payload)?;
            each(id, name, payload);
            Some(())
        })
    }

    /// ovs_datapath and ovs_vport, if the kernel has both.
    pub(super) fn families(&mut self, deadline: &Deadline) -> io::Result<Option<Families>> {
        let (mut datapath_family, mut vport_family, mut changes) = (None, None, None);
        self.for_each_family(deadline, |id, name, payload| {
            if name == ovs_datapath::PROTONAME_CSTR {
                datapath_family = Some(id);
            } else if name == ovs_vport::PROTONAME_CSTR {
                vport_family = Some(id);
                changes = group(payload, OVS_VPORT_MCGROUP);
            }
        })?;
        let families = datapath_family.zip(vport_family);
        Ok(families.map(|(datapath, vport)| Families {
            datapath,
            vport,
            changes,
        }))
    }

    /// Joins a multicast group. It has another number after its module was loaded again.
    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        if self.group == Some(group) {
            return Ok(());
        }
        // SAFETY: the kernel reads as many bytes of `group` as the last argument says.
        let result = unsafe {
            libc::setsockopt(
                self.changes.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                (&raw const group).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        self.group = Some(group);
        Ok(())
    }

    /// Whether the kernel reported a change. What has changed does not matter.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut changed = false;
        loop {
            let flags = RecvFlags::DONTWAIT;
            match retry_on_intr(|| recv(&self.changes, &mut self.buffer[..], flags)) {
                // There was more than the socket holds, and it is lost.
                Err(Errno::NOBUFS) | Ok((_, 1..)) => changed = true,
                Err(_) | Ok((_, 0)) => return changed,
            }
        }
    }

    /// Calls `each` for each datapath, and then for each of its ports, with the datapath's name as ovs-vswitchd has it
    /// and its number.
    ///
    /// # Errors
    /// If the kernel did not list them all before `deadline`. `each` was called for what it listed.
    pub(super) fn list(
        &mut self,
        deadline: &Deadline,
        mut each: impl FnMut(&[u8], u32, Listed<'_>),
    ) -> io::Result<()> {
        let Some(families) = self.families(deadline)? else {
            return Ok(());
        };
        if let Some(group) = families.changes {
            // Joined before the question is asked, so that no change between the two is missed. If it cannot be joined,
            // the kernel is still asked from time to time.
            let _ = self.join(group);
        }

        let mut datapaths: BTreeMap<u32, CString> = BTreeMap::new();
        self.dump(
            families.datapath,
            &datapaths_request(),
            deadline,
            |payload| {
                let (ifindex, name) = datapath(payload)?;
                datapaths.insert(ifindex, name.to_owned());
                Some(())
            },
        )?;
        let datapaths: Vec<(u32, Vec<u8>)> = datapaths
            .into_iter()
            .map(|(ifindex, name)| (ifindex, [KERNEL_DATAPATH, name.to_bytes()].concat()))
            .collect();
        for (ifindex, name) in &datapaths {
            each(name, *ifindex, Listed::Datapath);
        }
        for (ifindex, name) in &datapaths {
            let request = vports_request(*ifindex);
            let dump = self.dump(families.vport, &request, deadline, |payload| {
                let (port, port_name) = vport(payload)?;
                each(name, *ifindex, Listed::Port(port, port_name));
                Some(())
            });
            match dump {
                // Deleted since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                dump => dump?,
            }
        }
        Ok(())
    }

    /// Sends a dump request and calls `each` with the payload of each message of the answer; `each` returns `None` if it
    /// cannot read that. If the answer is disturbed, the request is sent again, and `each` may be called again with what
    /// it was called with before.
    ///
    /// # Errors
    /// If there was no whole answer before `deadline`, or the kernel answers with an error.
    fn dump(
        &mut self,
        family: u16,
        payload: &[u8],
        deadline: &Deadline,
        mut each: impl FnMut(&[u8]) -> Option<()>,
    ) -> io::Result<()> {
        loop {
            match self.dump_once(family, payload, deadline, &mut each) {
                Err(error) if is_disturbed(&error) => deadline.check()?,
                result => return result,
            }
        }
    }

    fn dump_once(
        &mut self,
        family: u16,
        payload: &[u8],
        deadline: &Deadline,
        mut each: impl FnMut(&[u8]) -> Option<()>,
    ) -> io::Result<()> {
        self.discard(deadline)?;
        self.sequence = self.sequence.wrapping_add(1);
        let header = Nlmsghdr {
            len: (Nlmsghdr::len() + payload.len()) as u32,
            r#type: family,
            flags: (NLM_F_REQUEST | NLM_F_DUMP) as u16,
            seq: self.sequence,
            pid: 0,
        };
        let request = [header.as_slice(), payload].concat();
        send(&self.fd, &request, SendFlags::empty())?;
        let mut answer = Answer::to(self.sequence);
        loop {
            let datagram = self.receive(deadline)?;
            if answer.read(datagram, &mut each)? {
                return Ok(());
            }
            deadline.check()?;
        }
    }

    /// Discards the rest of an answer that came too late. The kernel takes no new dump request of a socket
    /// (`-EBUSY`) until the one before has been read to its end.
    fn discard(&mut self, deadline: &Deadline) -> io::Result<()> {
        let flags = RecvFlags::DONTWAIT;
        while let Ok((_, 1..)) | Err(Errno::INTR) = recv(&self.fd, &mut self.buffer[..], flags) {
            deadline.check()?;
        }
        Ok(())
    }

    /// The next datagram.
    fn receive(&mut self, deadline: &Deadline) -> io::Result<&[u8]> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let len = loop {
            match recv(&self.fd, &mut self.buffer[..], flags) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, len)) => break len,
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let remaining = Timespec::try_from(deadline.remaining()?).ok();
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, remaining.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.buffer
            .get(..len)
            .ok_or_else(|| io::Error::other("the kernel's answer is longer than any known one"))
    }
}

/// Whether to ask once more: what was listed changed meanwhile, or the socket's buffer had no room for a part of the
/// answer.
fn is_disturbed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The network namespace of process `pid`, unless this thread is in it.
fn foreign_namespace(pid: u32) -> io::Result<Option<File>> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let (theirs, ours) = (
        namespace.metadata()?,
        fs::metadata("/proc/thread-self/ns/net")?,
    );
    let same = (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino());
    Ok((!same).then_some(namespace))
}

fn open_socket() -> io::Result<OwnedFd> {
    let fd = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(GENERIC),
    )?;
    // To the kernel, and only from the kernel.
    connect(&fd, &SocketAddrNetlink::new(0, 0))?;
    Ok(fd)
}
