//! Names of datapath ports, asked of the kernel.
//!
//! The flow key of an upcall has the number of a port; which device that is, the kernel's
//! `openvswitch` module says by generic netlink: families `ovs_datapath` and `ovs_vport`
//! (`include/uapi/linux/openvswitch.h`), in the network namespace of ovs-vswitchd. The multicast group
//! of ovs_vport says when to ask again.
//!
//! Families are looked up by listing them all. To ask for one by name would make the kernel load
//! its module, and a tracer must not change the machine that it looks at.
//!
//! What the kernel has not told is not known, which is not the same as that it does not exist:
//! [`PortNames::failure`].

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod kernel;
mod message;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::time::{Duration, Instant};

use crate::show::message::cause;

use kernel::{Deadline, Listed, Socket};

/// The multicast group of ovs_vport (`linux/openvswitch.h`).
const OVS_VPORT_MCGROUP: &CStr = c"ovs_vport";

/// How ovs-vswitchd's names of the kernel's datapaths begin.
const KERNEL_DATAPATH: &[u8] = b"system@";

/// How long an answer may take while events wait, or will be missed meanwhile. The kernel answers in well under a
/// millisecond, unless it or the machine is busy.
pub const TIMEOUT: Duration = Duration::from_millis(100);

/// After an answer that was not whole, the next one may take twice as long, and is asked for after twice the time: up
/// to so many times.
const DOUBLED: u32 = 3;

/// The shortest time from one question to the next is so many times as long as the answer may take, so that most time
/// remains for events.
const PAUSE: u32 = 10;

/// How long an answer may take at the start of a trace, when nothing waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How often the ports are listed at the start because some came or went meanwhile.
const ROUNDS: u32 = 3;

/// Why not all port names are known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot enter the network namespace of process {pid}: {}",
        cause(source)
    )]
    Namespace { pid: u32, source: io::Error },
    #[error("the kernel did not tell the names of all ports: {}", cause(.0))]
    Ports(io::Error),
    #[error("ports came or went whenever the kernel listed them")]
    Moving,
    #[error("the kernel does not tell its netlink families: {}; try again", cause(.0))]
    Families(io::Error),
}

impl Error {
    /// The way out.
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Namespace { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root"
            }
            _ => "try again",
        }
    }
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
    failure: Option<Error>,
    /// How many of the last answers were missing or not whole.
    failures: u32,
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
    /// Learns the names of all ports in the network namespace of process `pid`, if the kernel tells them in this time;
    /// [`failure`](Self::failure) says whether it did.
    ///
    /// A kernel without Open vSwitch has no names to give, which is no failure. To enter another
    /// network namespace than one's own takes CAP_SYS_ADMIN.
    pub fn open(pid: u32, patience: Duration) -> Self {
        match Socket::open(pid) {
            Ok(socket) => {
                let mut names = Self {
                    socket: Some(socket),
                    ..Self::default()
                };
                names.learn(patience);
                names
            }
            Err(error) => Self::unknown(error),
        }
    }

    /// No names, for this reason.
    pub fn unknown(error: Error) -> Self {
        Self {
            failure: Some(error),
            ..Self::default()
        }
    }

    /// Why the kernel's last answer was missing or not whole. While there is a failure, a port or a datapath that is
    /// not known here may exist.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Learns them all, if the kernel tells them in this time.
    fn learn(&mut self, patience: Duration) {
        for _ in 0..ROUNDS {
            self.ask(patience);
            // What moves while it is listed may be listed twice, or not at all.
            if self.failure.is_some() || !self.have_changed() {
                return;
            }
        }
        self.failure = Some(Error::Moving);
    }

    /// The name of a port, for example `eth0`. `datapath` is named as an upcall names it:
    /// `system@ovs-system`.
    ///
    /// For an unknown port the kernel is asked again, at most once a second. It answers in well under a
    /// millisecond; the wait for it ends after 0.1 s, or after up to 0.8 s if it was too short before, and then the
    /// kernel is asked less often.
    pub fn lookup(&mut self, datapath: &[u8], port: u32) -> Option<&str> {
        if self.known(datapath, port).is_none()
            && datapath.starts_with(KERNEL_DATAPATH)
            && self.may_ask()
        {
            self.refresh();
        }
        self.known(datapath, port)
    }

    /// Asks the kernel again, whenever that was last done.
    ///
    /// [`lookup`](Self::lookup) does it for new ports. Only this finds out that a known number
    /// belongs to another device now; [`needs_refresh`](Self::needs_refresh) says when. A port that is
    /// gone keeps its last name, for the upcalls still on the way.
    pub fn refresh(&mut self) {
        // Missing port names must not stop the trace.
        self.ask(self.timeout());
    }

    /// How long the next answer may take.
    fn timeout(&self) -> Duration {
        TIMEOUT * (1 << self.failures.min(DOUBLED))
    }

    fn ask(&mut self, patience: Duration) {
        self.refreshes += 1;
        let seen = self.refreshes;
        let Some(socket) = &mut self.socket else {
            return;
        };
        let listed = socket.list(&Deadline::within(patience), |datapath, ifindex, listed| {
            set_ifindex(&mut self.datapaths, datapath, ifindex);
            if let Listed::Port(port, name) = listed {
                let datapath = find_or_add(&mut self.datapaths, datapath);
                let name = name.to_string_lossy().into();
                datapath.ports.insert(port, Port { name, seen });
            }
        });
        self.failure = listed.err().map(Error::Ports);
        self.failures = match self.failure {
            Some(_) => self.failures.saturating_add(1),
            None => 0,
        };
        self.refreshed = Some(Instant::now());
    }

    /// Whether a [`refresh`](Self::refresh) is worth while: ports came or went since this was last asked, or the
    /// kernel's last answer was not whole and it is time to ask again.
    ///
    /// The kernel does not report that a device was renamed.
    pub fn needs_refresh(&mut self) -> bool {
        self.have_changed()
            || match self.failure {
                None => false,
                Some(Error::Moving) => true,
                Some(_) => self.may_ask(),
            }
    }

    fn have_changed(&mut self) -> bool {
        self.socket.as_mut().is_some_and(Socket::has_changed)
    }

    fn may_ask(&self) -> bool {
        let due = |time: Instant| time.elapsed() >= self.timeout() * PAUSE;
        self.socket.is_some() && self.refreshed.is_none_or(due)
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
        if self.known_datapath(ifindex).is_none() && self.may_ask() {
            self.refresh();
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

fn own_socket() -> Result<Socket, Error> {
    Socket::open(std::process::id()).map_err(|error| match error {
        Error::Namespace { source, .. } | Error::Ports(source) => Error::Families(source),
        error => error,
    })
}

/// Whether this kernel has the datapath of Open vSwitch: its generic netlink families, which are
/// there once the module openvswitch is loaded.
///
/// # Errors
/// [`Error::Families`].
pub fn has_kernel_datapath() -> Result<bool, Error> {
    let mut socket = own_socket()?;
    let families = socket.families(&Deadline::within(PATIENCE));
    Ok(families.map_err(Error::Families)?.is_some())
}

/// The numbers of generic netlink families, in the order of their names; `None` for one that the kernel does not have.
/// They are the same in all network namespaces, and others after the next boot.
///
/// # Errors
/// [`Error::Families`].
pub fn families<const N: usize>(names: [&CStr; N]) -> Result<[Option<u16>; N], Error> {
    let mut socket = own_socket()?;
    let mut found = [None; N];
    let listed = socket.for_each_family(&Deadline::within(PATIENCE), |id, name, _| {
        if let Some(i) = names.iter().position(|wanted| *wanted == name) {
            found[i] = Some(id);
        }
    });
    listed.map_err(Error::Families)?;
    Ok(found)
}
