mod waits;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use netlink_bindings::builtin::Nlmsghdr;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socketpair};
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

use super::kernel::GENL_ID_CTRL;
use super::message::group;
use super::vectors::*;
use super::*;

/// Longer than any answer takes on the slowest machine.
const LONG: Duration = Duration::from_secs(120);

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// A socket, and its other end, where the kernel would be.
fn unasked() -> (PortNames, OwnedFd) {
    let (fd, peer) = pair();
    let names = PortNames {
        socket: Some(Socket::new(fd, pair().0)),
        ..PortNames::default()
    };
    (names, peer)
}

/// An answer: some datagrams of some messages.
type Datagrams = &'static [&'static [&'static str]];

/// A socket to a kernel that gives this answer to the request of that number, from 0 on. What it was asked comes out at
/// the end.
fn kernel_that(
    answer: impl Fn(usize, &[u8]) -> Datagrams + Send + 'static,
) -> (PortNames, JoinHandle<Vec<Vec<u8>>>) {
    let (names, peer) = unasked();
    let thread = thread::spawn(move || {
        let mut requests = Vec::new();
        let mut buffer = [0; 1000];
        while let Ok((_, len @ 1..)) = recv(&peer, &mut buffer[..], RecvFlags::empty()) {
            let request = buffer[..len].to_vec();
            for datagram in answer(requests.len(), &request) {
                let mut all = Vec::new();
                for message in *datagram {
                    let mut message = bytes(message);
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

/// The same with these answers, and then none.
fn kernel(answers: &[Datagrams]) -> (PortNames, JoinHandle<Vec<Vec<u8>>>) {
    let answers = answers.to_vec();
    kernel_that(move |number, _| answers.get(number).copied().unwrap_or_default())
}

fn all(names: &PortNames) -> Vec<(&str, u32, &str)> {
    names
        .snapshot()
        .map(|(d, port, n)| (str::from_utf8(d).unwrap(), port, n))
        .collect()
}

const FAMILIES: Datagrams = &[&[FAMILY_DATAPATH], &[FAMILY_VPORT, DONE]];
const DATAPATHS: Datagrams = &[&[DATAPATH_DP0, DATAPATH_DP1], &[DONE]];
const PORTS_DP0: Datagrams = &[&[VPORT_DP0, VPORT_VETH0], &[DONE]];
const PORTS_DP1: Datagrams = &[&[VPORT_VXLAN], &[DONE]];

/// Check that the three requests are what the kernel wants, and that the names of two
/// datapaths, spread over several datagrams, come out.
#[test]
fn names_are_learnt() {
    let (mut names, kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1]);
    names.ask(LONG);
    assert!(names.failure().is_none());
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
    names.ask(LONG);
    assert!(names.failure().is_none());
    assert_eq!(all(&names), []);
    assert_eq!(names.lookup(b"system@dp0", 1), None);
    drop(names);
    assert_eq!(kernel.join().unwrap().len(), 1);
}

/// Check that a datapath that is deleted while it is looked at costs only its own names.
#[test]
fn a_deleted_datapath_is_passed_over() {
    let (mut names, _kernel) = kernel(&[FAMILIES, DATAPATHS, &[&[NO_DATAPATH]], PORTS_DP1]);
    names.ask(LONG);
    assert!(names.failure().is_none());
    assert_eq!(all(&names), [("system@dp1", 2, "vxlan_sys_4789")]);
}

/// Check that an error of the kernel is reported, and keeps what came before it.
#[test]
fn an_error_keeps_the_names_before_it() {
    const EPERM: &str =
        "24000000 02000000 01000000 25010000 ffffffff 18000000 21000103 01000000 00000000";
    let (mut names, _kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, &[&[EPERM]]]);
    names.ask(LONG);
    match names.failure() {
        Some(Error::Ports(error)) => assert_eq!(error.raw_os_error(), Some(1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(all(&names).len(), 2);
}

/// Check that a port that is gone keeps its name, and that a number used again gets the new
/// one.
#[test]
fn a_refresh_renames_and_does_not_forget() {
    let again: Datagrams = &[&[VPORT_VETH9, DONE]];
    let answers = [
        FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1, FAMILIES, DATAPATHS, again,
    ];
    let (mut names, _kernel) = kernel(&[&answers[..], &[&[&[DONE]]]].concat());
    names.ask(LONG);
    assert!(names.failure().is_none());
    names.ask(LONG);
    assert!(names.failure().is_none());
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
    let each = |id: u16, _: &CStr, payload: &[u8]| {
        if id == GENL_ID_CTRL {
            notify = group(payload, c"notify");
        }
    };
    socket
        .for_each_family(&Deadline::within(LONG), each)
        .unwrap();
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

/// Check that a miss makes the kernel be asked again, but not at once, not for a known port (0 is one), and not for a
/// datapath that is not the kernel's.
#[test]
fn a_miss_asks_again_later() {
    let (mut names, kernel) = kernel(&[FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1]);
    assert_eq!(names.lookup(b"netdev@dp0", 1), None);
    assert_eq!(names.refreshed, None);
    names.ask(LONG);
    assert_eq!(names.lookup(b"system@dp0", 1), Some("veth0"));
    // However slow this test is, that was just now.
    names.refreshed = Instant::now().checked_add(LONG);
    let just_now = names.refreshed;
    assert_eq!(names.lookup(b"system@dp0", 7), None);
    assert_eq!(names.datapath(77), None);
    assert_eq!(names.refreshed, just_now);
    let long_ago = Instant::now().checked_sub(TIMEOUT * PAUSE);
    names.refreshed = long_ago;
    assert_eq!(names.lookup(b"system@dp0", 0), Some("dp0"));
    assert_eq!(names.refreshed, long_ago);
    assert_eq!(names.lookup(b"system@dp0", 7), None);
    assert_ne!(names.refreshed, long_ago);
    drop(names);
    assert!(kernel.join().unwrap().len() > 4);
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
    copy.refresh();
}

/// Check that this machine's own kernel understands the request for its families, and that it
/// has no names if it has no openvswitch.
#[test]
fn a_kernel_without_openvswitch_has_no_names() {
    let mut names = PortNames::open(std::process::id(), LONG);
    names.ask(LONG);
    assert!(names.failure().is_none());
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
    let names = PortNames::open(u32::MAX, LONG);
    let error = names.failure().unwrap().to_string();
    assert!(error.contains("4294967295: No such file"), "{error}");
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
            let names = PortNames::open(thread, LONG);
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
