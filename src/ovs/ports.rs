//! Names of datapath ports, asked of the kernel.
//!
//! The flow key of an upcall has the number of a port; which device that is, the kernel's
//! `openvswitch` module says by generic netlink: families `ovs_datapath` and `ovs_vport`
//! (`include/uapi/linux/openvswitch.h`), in the network namespace of ovs-vswitchd. The multicast group
//! of ovs_vport says when to ask again.
//!
//! Families are looked up by listing them all. To ask for one by name would make the kernel load
//! its module, and a tracer must not change the machine that it looks at.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use netlink_bindings::builtin::{BuiltinNfgenmsg, Nlmsghdr};
use netlink_bindings::consts::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_bindings::{nlctrl, ovs_datapath, ovs_vport};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::show::message::cause;

/// The types of the messages that end an answer (`linux/netlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `GENL_ID_CTRL` (`linux/genetlink.h`): the family that lists the families.
const GENL_ID_CTRL: u16 = 0x10;

/// `OVS_DP_CMD_GET` and `OVS_VPORT_CMD_GET` (`linux/openvswitch.h`).
const OVS_DP_CMD_GET: u8 = 3;
const OVS_VPORT_CMD_GET: u8 = 3;

/// `OVS_DATAPATH_VERSION` and `OVS_VPORT_VERSION` (`linux/openvswitch.h`).
const OVS_DATAPATH_VERSION: u8 = 2;
const OVS_VPORT_VERSION: u8 = 1;

/// The multicast group of ovs_vport (`linux/openvswitch.h`).
const OVS_VPORT_MCGROUP: &CStr = c"ovs_vport";

/// How ovs-vswitchd's names of the kernel's datapaths begin.
const KERNEL_DATAPATH: &[u8] = b"system@";

/// The shortest time from one refresh on a miss to the next.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long the kernel may take for one answer, and for all of them. It answers at once unless it is
/// stuck.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The same at the start of a trace, which cannot do without the answer: a busy machine may take long.
const PATIENCE: Duration = Duration::from_secs(5);

/// As long as the longest datagram that the kernel makes for a dump (`netlink_dump()`), and to
/// spare.
const BUFFER_LEN: usize = 64 * 1024;

/// Why port names are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot enter the network namespace of process {pid}, so its ports have numbers only; \
         run as root to see their names"
    )]
    Namespace { pid: u32, source: io::Error },
    #[error("cannot ask the kernel for port names, so ports have numbers only")]
    Netlink(#[from] io::Error),
    #[error("the kernel does not tell its netlink families: {}; try again", cause(.0))]
    Families(io::Error),
}

/// The names of the ports of all datapaths, as far as they are known.
///
/// The default has no names and does not ask the kernel: it is for [`PortNames::insert`].
#[derive(Debug, Default)]
pub struct PortNames {
    socket: Option<Socket>,
    /// Few: ovs-vswitchd has one for each type of datapath.
    datapaths: Vec<Datapath>,
    refreshed: Option<Instant>,
    /// How often the kernel was asked.
    refreshes: u64,
}

#[derive(Debug)]
struct Datapath {
    /// As ovs-vswitchd has it: `system@ovs-system`.
    name: Box<[u8]>,
    /// Number of the datapath in requests to it (`dp_ifindex` of `struct ovs_header`), if it is known.
    ifindex: Option<u32>,
    ports: BTreeMap<u32, Port>,
}

#[derive(Debug)]
struct Port {
    name: Box<str>,
    /// The number of the last answer of the kernel that had the port.
    seen: u64,
}

impl PortNames {
    /// Learns the names of all ports in the network namespace of process `pid`.
    ///
    /// A kernel without Open vSwitch has no names to give, which is no error. To enter another
    /// network namespace than one's own takes CAP_SYS_ADMIN.
    pub fn open(pid: u32) -> Result<Self, Error> {
        let mut names = Self {
            socket: Some(Socket::open(pid)?),
            ..Self::default()
        };
        // What the kernel does not answer now is asked for again at the first upcall.
        let _ = names.refresh();
        Ok(names)
    }

    /// The name of a port, for example `eth0`. `datapath` is named as an upcall names it:
    /// `system@ovs-system`.
    ///
    /// For an unknown port the kernel is asked again, at most once a second. It answers in well under a
    /// millisecond; the wait for it ends after about 0.2 s.
    pub fn lookup(&mut self, datapath: &[u8], port: u32) -> Option<&str> {
        if self.known(datapath, port).is_none() && self.is_worth_a_refresh(datapath) {
            // Missing port names must not stop the trace.
            let _ = self.refresh();
        }
        self.known(datapath, port)
    }

    /// Asks the kernel again, whenever that was last done.
    ///
    /// [`lookup`](Self::lookup) does it for new ports. Only this finds out that a known number
    /// belongs to another device now; [`have_changed`](Self::have_changed) says when. A port that is
    /// gone keeps its last name, for the upcalls still on the way.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.refreshed = Some(Instant::now());
        self.refreshes += 1;
        let seen = self.refreshes;
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        socket.for_each_port(|datapath, ifindex, port, name| {
            set_ifindex(&mut self.datapaths, datapath, ifindex);
            let datapath = find_or_add(&mut self.datapaths, datapath);
            let name = name.to_string_lossy().into();
            datapath.ports.insert(port, Port { name, seen });
        })?;
        Ok(())
    }

    /// Whether ports came or went since this was last asked, so that a [`refresh`](Self::refresh) is
    /// worth while.
    ///
    /// The kernel does not report that a device was renamed.
    pub fn have_changed(&mut self) -> bool {
        self.socket.as_mut().is_some_and(Socket::has_changed)
    }

    /// Makes a name known, as from a recording.
    pub fn insert(&mut self, datapath: &[u8], port: u32, name: &str) {
        let port_of = Port {
            name: name.into(),
            seen: self.refreshes,
        };
        let datapath = find_or_add(&mut self.datapaths, datapath);
        datapath.ports.insert(port, port_of);
    }

    /// Makes the number of a datapath known, as from a recording.
    pub fn insert_datapath(&mut self, ifindex: u32, datapath: &[u8]) {
        set_ifindex(&mut self.datapaths, datapath, ifindex);
    }

    /// The name of the datapath with this number, as an upcall names it.
    ///
    /// For an unknown number the kernel is asked again, at most once a second.
    pub fn datapath(&mut self, ifindex: u32) -> Option<&[u8]> {
        let due = |time: Instant| time.elapsed() >= REFRESH_INTERVAL;
        if self.known_datapath(ifindex).is_none() && self.refreshed.is_none_or(due) {
            // Missing names must not stop the trace.
            let _ = self.refresh();
        }
        self.known_datapath(ifindex)
    }

    /// The same as far as it is known, without asking the kernel.
    pub fn known_datapath(&self, ifindex: u32) -> Option<&[u8]> {
        let mut datapaths = self.datapaths.iter();
        let datapath = datapaths.find(|datapath| datapath.ifindex == Some(ifindex))?;
        Some(&datapath.name)
    }

    /// The datapaths whose number is known, with their names as an upcall has them.
    pub fn datapaths(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let datapaths = self.datapaths.iter();
        datapaths.filter_map(|datapath| Some((datapath.ifindex?, &*datapath.name)))
    }

    /// The numbers of the ports of this name: first those that the kernel had when it was last asked, then those that
    /// have gone, of which packets may still be on the way, the last one first.
    pub fn numbers(&self, name: &str) -> Vec<u32> {
        let ports = self.datapaths.iter().flat_map(|datapath| &datapath.ports);
        let mut named: Vec<_> = ports.filter(|(_, port)| *port.name == *name).collect();
        named.sort_by_key(|(_, port)| std::cmp::Reverse(port.seen));
        named.into_iter().map(|(number, _)| *number).collect()
    }

    /// All that is known: datapath, port, name; the ports of each datapath in ascending order.
    pub fn snapshot(&self) -> impl Iterator<Item = (&[u8], u32, &str)> {
        self.datapaths.iter().flat_map(|datapath| {
            let ports = datapath.ports.iter();
            ports.map(|(&number, port)| (&*datapath.name, number, &*port.name))
        })
    }

    /// The name of a port as far as it is known, without asking the kernel.
    pub fn known(&self, datapath: &[u8], port: u32) -> Option<&str> {
        let datapath = self
            .datapaths
            .iter()
            .find(|known| *known.name == *datapath)?;
        datapath.ports.get(&port).map(|port| &*port.name)
    }

    fn is_worth_a_refresh(&self, datapath: &[u8]) -> bool {
        self.socket.is_some()
            && datapath.starts_with(KERNEL_DATAPATH)
            && self
                .refreshed
                .is_none_or(|time| time.elapsed() >= REFRESH_INTERVAL)
    }
}

/// Gives a datapath its number, which no other has any more.
fn set_ifindex(datapaths: &mut Vec<Datapath>, name: &[u8], ifindex: u32) {
    for known in datapaths.iter_mut() {
        if known.ifindex == Some(ifindex) {
            known.ifindex = None;
        }
    }
    find_or_add(datapaths, name).ifindex = Some(ifindex);
}

fn find_or_add<'a>(datapaths: &'a mut Vec<Datapath>, name: &[u8]) -> &'a mut Datapath {
    let position = datapaths.iter().position(|known| *known.name == *name);
    let position = position.unwrap_or_else(|| {
        datapaths.push(Datapath {
            name: name.into(),
            ifindex: None,
            ports: BTreeMap::new(),
        });
        datapaths.len() - 1
    });
    &mut datapaths[position]
}

/// Whether this kernel has the datapath of Open vSwitch: its generic netlink families, which are
/// there once the module openvswitch is loaded.
pub fn has_kernel_datapath() -> Result<bool, Error> {
    let mut socket = Socket::open(std::process::id())?;
    Ok(socket.families(Instant::now() + TIMEOUT)?.is_some())
}

/// The numbers of generic netlink families, in the order of their names; `None` for one that the kernel does not have.
/// They are the same in all network namespaces, and others after the next boot.
///
/// # Errors
/// [`Error::Families`].
pub fn families<const N: usize>(names: [&CStr; N]) -> Result<[Option<u16>; N], Error> {
    let mut socket = Socket::open(std::process::id())?;
    let mut found = [None; N];
    let listed = socket.wait_for(PATIENCE).and_then(|()| {
        socket.for_each_family(Instant::now() + PATIENCE, |id, name, _| {
            if let Some(i) = names.iter().position(|wanted| *wanted == name) {
                found[i] = Some(id);
            }
        })
    });
    listed.map_err(Error::Families)?;
    Ok(found)
}

/// What is known of the two families.
#[derive(Clone, Copy, Debug)]
struct Families {
    datapath: u16,
    vport: u16,
    /// The multicast group of ports that come and go.
    changes: Option<u32>,
}

/// A generic netlink socket for questions, and another for what the kernel reports by itself: messages
/// of both kinds may have the same sequence numbers.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
    changes: OwnedFd,
    /// The multicast group that `changes` is in.
    group: Option<u32>,
}

impl Socket {
    fn open(pid: u32) -> Result<Self, Error> {
        let namespace_error = move |source| Error::Namespace { pid, source };
        let (fd, changes) = match foreign_namespace(pid) {
            Ok(None) => (open_socket()?, open_socket()?),
            // A socket stays in the namespace of the thread that opened it, and the thread stays in
            // the namespace that it entered: so it must be one of its own.
            Ok(Some(namespace)) => thread::Builder::new()
                .spawn(move || {
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(namespace.as_fd(), network)
                        .map_err(|source| namespace_error(source.into()))?;
                    Ok::<_, Error>((open_socket()?, open_socket()?))
                })?
                .join()
                .map_err(|_| io::Error::other("the thread that opens the socket panicked"))??,
            Err(source) => return Err(namespace_error(source)),
        };
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER_LEN].into(),
            changes,
            group: None,
        })
    }

    /// Waits so long for an answer from now on.
    fn wait_for(&self, time: Duration) -> io::Result<()> {
        set_socket_timeout(&self.fd, Timeout::Recv, Some(time))?;
        Ok(())
    }

    /// Calls `each` with the number and the name of each family, and what else the kernel says of it.
    fn for_each_family(
        &mut self,
        deadline: Instant,
        mut each: impl FnMut(u16, &CStr, &[u8]),
    ) -> io::Result<()> {
        let mut request = Vec::new();
        nlctrl::OpGetfamilyDump::encode_request(&mut request);
        self.dump(GENL_ID_CTRL, &request, deadline, |payload| {
            if let Some((id, name)) = family(payload) {
                each(id, name, payload);
            }
        })
    }

    /// ovs_datapath and ovs_vport, if the kernel has both.
    fn families(&mut self, deadline: Instant) -> io::Result<Option<Families>> {
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
    fn join(&mut self, group: u32) -> io::Result<()> {
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
    fn has_changed(&mut self) -> bool {
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

    /// Calls `each` with the datapath, as ovs-vswitchd names it, that one's number, and the number and the name of each
    /// port.
    fn for_each_port(&mut self, mut each: impl FnMut(&[u8], u32, u32, &CStr)) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let Some(families) = self.families(deadline)? else {
            return Ok(());
        };
        if let Some(group) = families.changes {
            // Joined before the question is asked, so that no change between the two is missed. If it cannot be joined,
            // the kernel is still asked from time to time.
            let _ = self.join(group);
        }

        let mut datapaths = Vec::new();
        let mut request = generic_header(OVS_DP_CMD_GET, OVS_DATAPATH_VERSION);
        let header = ovs_datapath::OvsHeader { dp_ifindex: 0 };
        ovs_datapath::OpGetDump::encode_request(&mut request, &header);
        self.dump(families.datapath, &request, deadline, |payload| {
            datapaths.extend(datapath(payload).map(|(ifindex, name)| (ifindex, name.to_owned())));
        })?;

        for (ifindex, name) in datapaths {
            let name = [KERNEL_DATAPATH, name.to_bytes()].concat();
            let mut request = generic_header(OVS_VPORT_CMD_GET, OVS_VPORT_VERSION);
            let header = ovs_vport::OvsHeader {
                dp_ifindex: ifindex,
            };
            ovs_vport::OpGetDump::encode_request(&mut request, &header);
            let dump = self.dump(families.vport, &request, deadline, |payload| {
                if let Some((port, port_name)) = vport(payload) {
                    each(&name, ifindex, port, port_name);
                }
            });
            match dump {
                // Deleted since it was listed.
                Err(error) if error.raw_os_error() == Some(ENODEV) => {}
                dump => dump?,
            }
        }
        Ok(())
    }

    /// Sends a dump request and calls `each` with the payload of each message of the answer.
    fn dump(
        &mut self,
        family: u16,
        payload: &[u8],
        deadline: Instant,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
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
        loop {
            let (_, len) =
                retry_on_intr(|| recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC))?;
            let Some(datagram) = self.buffer.get(..len) else {
                return Err(io::Error::other(
                    "the kernel's answer is longer than any known one",
                ));
            };
            if is_last(datagram, self.sequence, &mut each)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// `ENODEV`, with which the kernel says that there is no such datapath.
const ENODEV: i32 = 19;

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
    set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT))?;
    set_socket_timeout(&fd, Timeout::Send, Some(TIMEOUT))?;
    // To the kernel, and only from the kernel.
    connect(&fd, &SocketAddrNetlink::new(0, 0))?;
    Ok(fd)
}

/// `struct genlmsghdr`. The crate's encoders of the ovs families begin behind it, at `struct
/// ovs_header`.
fn generic_header(cmd: u8, version: u8) -> Vec<u8> {
    let header = BuiltinNfgenmsg {
        cmd,
        version,
        reserved: 0,
    };
    header.as_slice().to_vec()
}

/// Calls `each` with the payload of each message of the request numbered `sequence`. True if the
/// answer ends here; an error of the kernel's is returned as it is.
fn is_last(datagram: &[u8], sequence: u32, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut rest = datagram;
    while let Some(header) = rest
        .get(..Nlmsghdr::len())
        .and_then(Nlmsghdr::new_from_slice)
    {
        let len = header.len as usize;
        let Some(payload) = rest.get(Nlmsghdr::len()..len) else {
            return Err(io::Error::other(
                "a message of the kernel's answer is cut off",
            ));
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        // The rest of an answer that took too long.
        if header.seq != sequence {
            continue;
        }
        match header.r#type {
            // Both begin with 0 or a negative errno.
            NLMSG_DONE | NLMSG_ERROR => {
                let error = payload
                    .first_chunk()
                    .map_or(0, |&bytes| i32::from_ne_bytes(bytes));
                return match error {
                    0.. => Ok(true),
                    error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
                };
            }
            _ => each(payload),
        }
    }
    Ok(false)
}

/// Number and name of a family (`CTRL_CMD_NEWFAMILY`).
fn family(payload: &[u8]) -> Option<(u16, &CStr)> {
    let attributes = nlctrl::OpGetfamilyDump::decode_request(payload);
    Some((
        attributes.get_family_id().ok()?,
        attributes.get_family_name().ok()?,
    ))
}

/// Number of a multicast group of a family (`CTRL_CMD_NEWFAMILY`).
fn group(payload: &[u8], name: &CStr) -> Option<u32> {
    let attributes = nlctrl::OpGetfamilyDump::decode_request(payload);
    let mut groups = attributes.get_mcast_groups().ok()?;
    let group = groups.find(|group| group.get_name() == Ok(name))?;
    group.get_id().ok()
}

/// Interface index and name of a datapath (`OVS_DP_CMD_NEW`).
fn datapath(payload: &[u8]) -> Option<(u32, &CStr)> {
    let payload = payload.get(BuiltinNfgenmsg::len()..)?;
    let (header, attributes) = ovs_datapath::OpGetDump::decode_request(payload);
    Some((header.dp_ifindex, attributes.get_name().ok()?))
}

/// Number and name of a port (`OVS_VPORT_CMD_NEW`).
fn vport(payload: &[u8]) -> Option<(u32, &CStr)> {
    let payload = payload.get(BuiltinNfgenmsg::len()..)?;
    let (_, attributes) = ovs_vport::OpGetDump::decode_request(payload);
    Some((attributes.get_port_no().ok()?, attributes.get_name().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread::JoinHandle;

    use proptest::prelude::*;
    use rustix::net::socketpair;
    use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

    use super::*;

    // The answers of Debian's kernel 6.1.192 on x86-64, by a script of a few lines that sent the
    // three dump requests: datapath dp0 with a veth, datapath dp1 with a VXLAN port, made by
    // ovs-dpctl 3.1. Families got their numbers at the time: 0x20 and 0x21; the datapaths their
    // indexes: 6 and 7.

    const FAMILY_DATAPATH: &str = "\
        c0000000 10000200 01000000 25010000 01020000 11000200 6f76735f 64617461 \
        70617468 00000000 06000100 20000000 08000300 02000000 08000400 04000000 \
        08000500 09000000 54000600 14000100 08000100 01000000 08000200 1a000000 \
        14000200 08000100 02000000 08000200 1a000000 14000300 08000100 03000000 \
        08000200 0e000000 14000400 08000100 04000000 08000200 1a000000 24000700 \
        20000100 08000200 09000000 11000100 6f76735f 64617461 70617468 00000000";
    const FAMILY_VPORT: &str = "\
        b8000000 10000200 01000000 25010000 01020000 0e000200 6f76735f 76706f72 \
        74000000 06000100 21000000 08000300 01000000 08000400 04000000 08000500 \
        09000000 54000600 14000100 08000100 01000000 08000200 1a000000 14000200 \
        08000100 02000000 08000200 1a000000 14000300 08000100 03000000 08000200 \
        0e000000 14000400 08000100 04000000 08000200 1a000000 20000700 1c000100 \
        08000200 0a000000 0e000100 6f76735f 76706f72 74000000";
    const DATAPATH_DP0: &str = "\
        78000000 20000200 02000000 25010000 03020000 06000000 08000100 64703000 \
        24000300 00000000 00000000 08000000 00000000 08000000 00000000 00000000 \
        00000000 24000400 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 08000500 09000000 08000700 00010000";
    const DATAPATH_DP1: &str = "\
        78000000 20000200 02000000 25010000 03020000 07000000 08000100 64703100 \
        24000300 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 24000400 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 08000500 09000000 08000700 00010000";
    const VPORT_DP0: &str = "\
        84000000 21000200 03000000 25010000 03010000 06000000 08000100 00000000 \
        08000200 02000000 08000300 64703000 08000800 06000000 44000600 00000000 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 08000500 \
        00000000";
    const VPORT_VETH0: &str = "\
        88000000 21000200 03000000 25010000 03010000 06000000 08000100 01000000 \
        08000200 01000000 0a000300 76657468 30000000 08000800 03000000 44000600 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
        08000500 00000000";
    const VPORT_VXLAN: &str = "\
        90000000 21000200 04000000 25010000 03010000 07000000 08000100 02000000 \
        08000200 01000000 13000300 76786c61 6e5f7379 735f3437 38390000 08000800 \
        09000000 44000600 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
        00000000 00000000 08000500 00000000";
    const DONE: &str = "14000000 03000200 01000000 25010000 00000000";
    /// To a dump of the ports of a datapath that is not there: `-ENODEV`.
    const NO_DATAPATH: &str = "14000000 03000200 05000000 25010000 edffffff";

    // Made by hand.

    /// `veth9` as port 1 of dp0, of a length that leaves 2 bytes to align the next message.
    const VPORT_VETH9: &str = "\
        2a000000 21000200 03000000 25010000 03010000 06000000 08000100 01000000 \
        0a000300 76657468 39000000";
    /// That `veth0`, port 1 of dp0, is gone, and that `veth9` came: the commands OVS_VPORT_CMD_DEL and _NEW.
    const VPORT_DELETED: &str = "\
        2c000000 21000000 07000000 25010000 02010000 06000000 08000100 01000000 \
        0a000300 76657468 30000000";
    const VPORT_ADDED: &str = "\
        2c000000 21000000 08000000 25010000 01010000 06000000 08000100 01000000 \
        0a000300 76657468 39000000";
    /// A message that ends within its header's length.
    const CUT_OFF: &str = "20000000 21000200 03000000 25010000 03010000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    /// A socket, and its other end, where the kernel would be.
    fn unasked() -> (PortNames, OwnedFd) {
        let (fd, peer) = pair();
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT)).unwrap();
        let socket = Socket {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER_LEN].into(),
            changes: pair().0,
            group: None,
        };
        let names = PortNames {
            socket: Some(socket),
            ..PortNames::default()
        };
        (names, peer)
    }

    /// A socket to a kernel that gives these answers, each of some datagrams of some messages, and
    /// then none. What it was asked comes out at the end.
    fn kernel(answers: &[&[&[&str]]]) -> (PortNames, JoinHandle<Vec<Vec<u8>>>) {
        let answers: Vec<Vec<Vec<Vec<u8>>>> = answers
            .iter()
            .map(|answer| {
                let datagram = |datagram: &&[&str]| datagram.iter().map(|m| bytes(m)).collect();
                answer.iter().map(datagram).collect()
            })
            .collect();
        let (names, peer) = unasked();
        let thread = thread::spawn(move || {
            let mut requests = Vec::new();
            let mut answers = answers.into_iter();
            let mut buffer = [0; 1000];
            while let Ok((_, len @ 1..)) = recv(&peer, &mut buffer[..], RecvFlags::empty()) {
                let request = buffer[..len].to_vec();
                for datagram in answers.next().unwrap_or_default() {
                    let mut all = Vec::new();
                    for mut message in datagram {
                        message[8..12].copy_from_slice(&request[8..12]);
                        all.extend(message);
                    }
                    send(&peer, &all, SendFlags::empty()).unwrap();
                }
                requests.push(request);
            }
            requests
        });
        (names, thread)
    }

    fn all(names: &PortNames) -> Vec<(&str, u32, &str)> {
        names
            .snapshot()
            .map(|(d, port, n)| (str::from_utf8(d).unwrap(), port, n))
            .collect()
    }

    const FAMILIES: &[&[&str]] = &[&[FAMILY_DATAPATH], &[FAMILY_VPORT, DONE]];
    const DATAPATHS: &[&[&str]] = &[&[DATAPATH_DP0, DATAPATH_DP1], &[DONE]];
    const PORTS_DP0: &[&[&str]] = &[&[VPORT_DP0, VPORT_VETH0], &[DONE]];
    const PORTS_DP1: &[&[&str]] = &[&[VPORT_VXLAN], &[DONE]];

    /// Check that the three requests are what the kernel wants, and that the names of two
    /// datapaths, spread over several datagrams, come out.
    #[test]
    fn names_are_learnt() {
        let (mut names, kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1]);
        names.refresh().unwrap();
        assert_eq!(
            all(&names),
            [
                ("system@dp0", 0, "dp0"),
                ("system@dp0", 1, "veth0"),
                ("system@dp1", 2, "vxlan_sys_4789"),
            ]
        );
        assert_eq!(names.lookup(b"system@dp0", 0), Some("dp0"));
        assert_eq!(names.lookup(b"system@dp1", 2), Some("vxlan_sys_4789"));
        assert_eq!(names.lookup(b"system@dp0", 2), None);
        drop(names);
        // Each struct nlmsghdr, struct genlmsghdr and, but for the first, struct ovs_header.
        let requests = [
            "14000000 10000103 01000000 00000000 03010000",
            "18000000 20000103 02000000 00000000 03020000 00000000",
            "18000000 21000103 03000000 00000000 03010000 06000000",
            "18000000 21000103 04000000 00000000 03010000 07000000",
        ];
        assert_eq!(kernel.join().unwrap(), requests.map(bytes));
    }

    /// Check that a kernel without the module has no names, that this is no error, and that nothing
    /// more is asked.
    #[test]
    fn no_module_is_no_names() {
        let (mut names, kernel) = kernel(&[&[&[FAMILY_VPORT], &[DONE]]]);
        names.refresh().unwrap();
        assert_eq!(all(&names), []);
        assert_eq!(names.lookup(b"system@dp0", 1), None);
        drop(names);
        assert_eq!(kernel.join().unwrap().len(), 1);
    }

    /// Check that a datapath that is deleted while it is looked at costs only its own names.
    #[test]
    fn a_deleted_datapath_is_passed_over() {
        let (mut names, _kernel) = kernel(&[FAMILIES, DATAPATHS, &[&[NO_DATAPATH]], PORTS_DP1]);
        names.refresh().unwrap();
        assert_eq!(all(&names), [("system@dp1", 2, "vxlan_sys_4789")]);
    }

    /// Check that an error of the kernel is reported, and keeps what came before it.
    #[test]
    fn an_error_keeps_the_names_before_it() {
        let eperm =
            "24000000 02000000 01000000 25010000 ffffffff 18000000 21000103 01000000 00000000";
        let (mut names, _kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, &[&[eperm]]]);
        match names.refresh() {
            Err(Error::Netlink(error)) => assert_eq!(error.raw_os_error(), Some(1)),
            other => panic!("{other:?}"),
        }
        assert_eq!(all(&names).len(), 2);
    }

    /// Check that a port that is gone keeps its name, and that a number used again gets the new
    /// one.
    #[test]
    fn a_refresh_renames_and_does_not_forget() {
        let again: &[&[&str]] = &[&[VPORT_VETH9, DONE]];
        let answers = [
            FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1, FAMILIES, DATAPATHS, again,
        ];
        let (mut names, _kernel) = kernel(&[&answers[..], &[&[&[DONE]]]].concat());
        names.refresh().unwrap();
        names.refresh().unwrap();
        assert_eq!(
            all(&names),
            [
                ("system@dp0", 0, "dp0"),
                ("system@dp0", 1, "veth9"),
                ("system@dp1", 2, "vxlan_sys_4789"),
            ]
        );
        // Of two ports of one name, the one that the kernel has no more comes last, whatever its number.
        names.insert(b"system@dp0", 9, "dp0");
        assert_eq!(names.numbers("dp0"), [9, 0]);
        assert_eq!(names.numbers("veth9"), [1]);
        assert_eq!(names.numbers("eth9"), [0; 0]);
    }

    /// Check that what the kernel reports of ports is noticed once, however much it is, and nothing else is.
    #[test]
    fn changes_are_noticed() {
        let (mut names, _peer) = unasked();
        let (changes, kernel) = pair();
        names.socket.as_mut().unwrap().changes = changes;
        assert!(!names.have_changed());
        for message in [VPORT_DELETED, VPORT_ADDED] {
            send(&kernel, &bytes(message), SendFlags::empty()).unwrap();
        }
        assert!(names.have_changed());
        assert!(!names.have_changed());
        drop(kernel);
        assert!(!names.have_changed());
        assert!(!PortNames::default().have_changed());
    }

    /// Check that the number of the group is found among those of its family, and that the kernel lets us join it: here
    /// the one that announces families, which every kernel has, since ovs_vport need not be there.
    #[test]
    fn the_group_is_joined() {
        let vport = bytes(FAMILY_VPORT);
        let vport = &vport[Nlmsghdr::len()..];
        assert_eq!(group(vport, OVS_VPORT_MCGROUP), Some(10));
        assert_eq!(group(vport, c"another"), None);
        let none = bytes(VPORT_VETH9);
        assert_eq!(group(&none[Nlmsghdr::len()..], OVS_VPORT_MCGROUP), None);

        let mut socket = Socket::open(std::process::id()).unwrap();
        let mut notify = None;
        let mut request = Vec::new();
        nlctrl::OpGetfamilyDump::encode_request(&mut request);
        let deadline = Instant::now() + TIMEOUT;
        let each = |payload: &[u8]| {
            if family(payload).is_some_and(|(id, _)| id == GENL_ID_CTRL) {
                notify = group(payload, c"notify");
            }
        };
        socket.dump(GENL_ID_CTRL, &request, deadline, each).unwrap();
        let notify = notify.unwrap();
        let fd = File::from(socket.changes.try_clone().unwrap());
        let inode = fd.metadata().unwrap().ino().to_string();
        let groups = || {
            let sockets = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
            let mut rows = sockets.lines().map(|row| row.split_whitespace());
            let mut row = rows.find(|row| row.clone().last() == Some(&inode)).unwrap();
            u32::from_str_radix(row.nth(3).unwrap(), 16).unwrap()
        };
        assert_eq!(groups(), 0);
        socket.join(notify).unwrap();
        socket.join(notify).unwrap();
        assert_eq!(groups(), 1 << (notify - 1));
        assert!(socket.join(u32::MAX).is_err());
        assert!(!socket.has_changed());
    }

    /// Check that a miss makes the kernel be asked again, but not twice within a second, not for a
    /// known port (0 is one), and not for a datapath that is not the kernel's.
    #[test]
    fn a_miss_asks_again_once_a_second() {
        let (mut names, kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1, FAMILIES]);
        assert_eq!(names.lookup(b"netdev@dp0", 1), None);
        assert_eq!(names.refreshed, None);
        assert_eq!(names.lookup(b"system@dp0", 1), Some("veth0"));
        let first = names.refreshed;
        assert_eq!(names.lookup(b"system@dp0", 7), None);
        assert_eq!(names.refreshed, first);
        names.refreshed = Instant::now().checked_sub(REFRESH_INTERVAL);
        let long_ago = names.refreshed;
        assert_eq!(names.lookup(b"system@dp0", 0), Some("dp0"));
        assert_eq!(names.refreshed, long_ago);
        assert_eq!(names.lookup(b"system@dp0", 7), None);
        assert_ne!(names.refreshed, long_ago);
        drop(names);
        assert_eq!(kernel.join().unwrap().len(), 4 + 2);
    }

    /// Check that a kernel that does not answer delays a lookup by the timeout only, and that an
    /// answer that comes too late is not taken for the next one.
    #[test]
    fn a_silent_kernel_is_not_waited_for() {
        let (mut names, _kernel) = kernel(&[&[], FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1]);
        let start = Instant::now();
        assert_eq!(names.lookup(b"system@dp0", 1), None);
        assert!(start.elapsed() >= TIMEOUT);
        assert!(start.elapsed() < 5 * TIMEOUT);
        let mut late = Vec::new();
        assert!(
            !is_last(&bytes(VPORT_VETH9), 99, |payload| late
                .push(payload.to_vec()))
            .unwrap()
        );
        assert!(!is_last(&bytes(DONE), 99, |payload| late.push(payload.to_vec())).unwrap());
        assert!(late.is_empty());
        names.refresh().unwrap();
        assert_eq!(names.lookup(b"system@dp0", 1), Some("veth0"));
    }

    /// Check that an answer without end delays a lookup by little more than the timeout.
    #[test]
    fn an_endless_answer_is_not_waited_for() {
        let (mut names, peer) = unasked();
        let kernel = thread::spawn(move || {
            for _ in 0..200 {
                thread::sleep(TIMEOUT / 10);
                if send(&peer, &bytes(FAMILY_VPORT), SendFlags::empty()).is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        assert_eq!(names.lookup(b"system@dp0", 1), None);
        assert!(start.elapsed() < 5 * TIMEOUT);
        drop(names);
        kernel.join().unwrap();
    }

    /// Check that a message longer than its datagram is an error, not a wait for the rest.
    #[test]
    fn a_cut_off_message_is_an_error() {
        let error = is_last(&bytes(CUT_OFF), 3, |_| panic!("half a message")).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");
    }

    /// Check that a number which another datapath has now is no longer that of the one before.
    #[test]
    fn a_datapath_takes_over_a_number() {
        let mut names = PortNames::default();
        names.insert_datapath(6, b"system@a");
        names.insert_datapath(7, b"system@b");
        names.insert_datapath(6, b"system@c");
        assert_eq!(names.known_datapath(6), Some(&b"system@c"[..]));
        assert_eq!(names.known_datapath(7), Some(&b"system@b"[..]));
        assert_eq!(names.known_datapath(8), None);
    }

    /// Check that names survive a recording.
    #[test]
    fn a_snapshot_can_be_inserted() {
        let mut names = PortNames::default();
        names.insert(b"system@b", 7, "eth7");
        names.insert(b"system@a", 0, "a");
        names.insert(b"system@b", 1, "old");
        names.insert(b"system@b", 1, "eth1");
        let mut copy = PortNames::default();
        for (datapath, port, name) in names.snapshot() {
            copy.insert(datapath, port, name);
        }
        let expected = [
            ("system@b", 1, "eth1"),
            ("system@b", 7, "eth7"),
            ("system@a", 0, "a"),
        ];
        assert_eq!(all(&names), expected);
        assert_eq!(all(&copy), expected);
        assert_eq!(copy.lookup(b"system@a", 0), Some("a"));
        assert_eq!(copy.lookup(b"system@a", 7), None);
        copy.refresh().unwrap();
    }

    /// Check that this machine's own kernel understands the request for its families, and that it
    /// has no names if it has no openvswitch.
    #[test]
    fn a_kernel_without_openvswitch_has_no_names() {
        let mut names = PortNames::open(std::process::id()).unwrap();
        names.refresh().unwrap();
        if fs::exists("/sys/module/openvswitch").unwrap() {
            eprintln!("skipped: no names without openvswitch (this kernel has it)");
            return;
        }
        assert_eq!(names.lookup(b"system@ovs-system", 1), None);
        assert_eq!(all(&names), []);
        assert!(
            !fs::exists("/sys/module/openvswitch").unwrap(),
            "the lookup loaded the module"
        );
    }

    /// Check that a process that is gone is an error that names it.
    #[test]
    fn a_dead_process_is_an_error() {
        let error = PortNames::open(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }

    /// Check that the socket is opened in the network namespace of the process asked for, and that
    /// the caller's thread stays in its own.
    #[test]
    fn the_socket_is_in_the_namespace_of_the_process() {
        let (send_id, id) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            // SAFETY: a new network namespace changes no memory and no file descriptor.
            let moved = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            send_id
                .send(moved.map(|()| gettid().as_raw_nonzero().get() as u32))
                .unwrap();
            let _ = wait.recv();
        });
        let here = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        match id.recv().unwrap() {
            Ok(thread) => {
                let before = here();
                let names = PortNames::open(thread).unwrap();
                assert_eq!(here(), before);
                let socket = names.socket.unwrap();
                // Open until the end.
                let sockets = [socket.fd, socket.changes].map(File::from);
                let inode = |socket: &File| socket.metadata().unwrap().ino().to_string();
                let inodes = sockets.each_ref().map(inode);
                let has = |path: &str| {
                    let sockets = fs::read_to_string(path).unwrap();
                    let ids = || {
                        sockets
                            .lines()
                            .filter_map(|line| line.split_whitespace().last())
                    };
                    inodes.each_ref().map(|inode| ids().any(|id| id == inode))
                };
                let theirs = has(&format!("/proc/{thread}/net/netlink"));
                assert_eq!(theirs, [true, true]);
                assert_eq!(has("/proc/thread-self/net/netlink"), [false, false]);
            }
            Err(error) => eprintln!("skipped: namespace of a process (unshare: {error})"),
        }
        drop(done);
        other.join().unwrap();
    }

    proptest! {
        /// Check that no answer, whole, cut or damaged, makes the parsers panic or loop.
        #[test]
        fn any_answer_is_survived(
            base in prop::sample::select(vec![
                FAMILY_DATAPATH, FAMILY_VPORT, DATAPATH_DP0, VPORT_DP0, VPORT_VXLAN, DONE, "",
            ]),
            damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut datagram = [bytes(base), tail].concat();
            for (index, byte) in damage.iter().filter(|_| !base.is_empty()) {
                let index = index.index(datagram.len());
                datagram[index] = *byte;
            }
            datagram.truncate(cut.index(datagram.len() + 1));
            let sequence = datagram.get(8..12).map_or([0; 4], |s| s.try_into().unwrap());
            let sequence = u32::from_ne_bytes(sequence);
            let _ = is_last(&datagram, sequence, |payload| {
                let _ = (family(payload), datapath(payload), vport(payload));
                let _ = group(payload, OVS_VPORT_MCGROUP);
            });
            let _ = (family(&datagram), datapath(&datagram), vport(&datagram));
            let _ = group(&datagram, OVS_VPORT_MCGROUP);
        }
    }
}
