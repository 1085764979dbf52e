//! Answers that are late, cut, disturbed or missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;

/// A time in which there is no answer.
const SHORT: Duration = Duration::from_millis(20);

/// Check that at the start an answer is waited for that takes longer than any may take while events wait.
#[test]
fn a_slow_answer_is_waited_for() {
    let answers = [FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1];
    let (mut names, _kernel) = kernel_that(move |number, _| {
        if number == 0 {
            thread::sleep(3 * TIMEOUT);
        }
        answers[number]
    });
    names.learn(LONG);
    assert!(names.failure().is_none(), "{:?}", names.failure());
    assert_eq!(names.numbers("veth0"), [1]);
    assert_eq!(all(&names).len(), 3);
}

/// Check that no answer is a failure that says so, and not a kernel without ports; that the kernel is asked again
/// later, then for longer, and once more when it is time to.
#[test]
fn no_answer_is_a_failure() {
    let (mut names, _peer) = unasked();
    names.learn(SHORT);
    let error = names.failure().unwrap().to_string();
    let text = "the kernel did not tell the names of all ports: no whole answer within 0.02 s";
    assert_eq!(error, text);
    assert_eq!(names.timeout(), 2 * TIMEOUT);
    names.refreshed = Instant::now().checked_add(LONG);
    assert!(!names.needs_refresh());
    names.refreshed = Instant::now().checked_sub(2 * TIMEOUT * PAUSE);
    assert!(names.needs_refresh());
    assert_eq!(names.lookup(b"system@dp0", 1), None);
    assert_eq!(names.timeout(), 4 * TIMEOUT);
    names.failures = u32::MAX;
    assert_eq!(names.timeout(), 8 * TIMEOUT);
}

/// Check that half an answer keeps what was in it and is a failure, and that the kernel's next answer, behind the rest
/// of the first one, is read as a whole one.
#[test]
fn half_an_answer_is_a_failure() {
    let whole = Arc::new(AtomicBool::new(false));
    let is_whole = Arc::clone(&whole);
    let (mut names, _kernel) = kernel_that(move |_, request| {
        match (request[4], request.get(20)) {
            (0x20, _) => DATAPATHS,
            (0x21, Some(6)) if is_whole.load(Relaxed) => PORTS_DP0,
            // The last message is missing.
            (0x21, Some(6)) => &[&[VPORT_DP0]],
            (0x21, _) => PORTS_DP1,
            _ => FAMILIES,
        }
    });
    let mut patience = SHORT;
    while names.known(b"system@dp0", 0).is_none() {
        names.learn(patience);
        patience *= 2;
    }
    assert!(names.failure().is_some());
    assert_eq!(names.numbers("veth0"), [0; 0]);
    // It is known all the same that there are these datapaths.
    assert_eq!(names.known_datapath(7), Some(&b"system@dp1"[..]));
    whole.store(true, Relaxed);
    names.ask(LONG);
    assert!(names.failure().is_none(), "{:?}", names.failure());
    assert_eq!(names.numbers("veth0"), [1]);
    assert_eq!(names.timeout(), TIMEOUT);
}

/// Check that the kernel is asked once more if it says that its list changed while it made it (`NLM_F_DUMP_INTR`), or
/// that it lost a part of it (`-ENOBUFS`), and that what is listed again is known once.
#[test]
fn a_disturbed_answer_is_asked_for_again() {
    const INTERRUPTED: Datagrams = &[&[VPORT_DP0_INTERRUPTED], &[DONE]];
    const NO_ROOM: Datagrams = &[&[NO_BUFFER]];
    let answers = [
        FAMILIES,
        DATAPATHS,
        INTERRUPTED,
        NO_ROOM,
        PORTS_DP0,
        PORTS_DP1,
    ];
    let (mut names, kernel) = kernel(&answers);
    names.learn(LONG);
    assert!(names.failure().is_none(), "{:?}", names.failure());
    assert_eq!(names.numbers("dp0"), [0]);
    assert_eq!(all(&names).len(), 3);
    drop(names);
    assert_eq!(kernel.join().unwrap().len(), answers.len());
}

/// Check that ports are listed again at the start if some came or went meanwhile, and that it is a failure if they
/// always do.
#[test]
fn ports_that_come_meanwhile() {
    for (changes, rounds) in [(0, 1), (1, 2), (ROUNDS as usize, ROUNDS as usize)] {
        let (theirs, ours) = pair();
        let (mut names, kernel) = kernel_that(move |number, _| {
            if number % 4 == 3 && number / 4 < changes {
                send(&theirs, &bytes(VPORT_ADDED), SendFlags::empty()).unwrap();
            }
            [FAMILIES, DATAPATHS, PORTS_DP0, PORTS_DP1][number % 4]
        });
        names.socket.as_mut().unwrap().changes = ours;
        names.learn(LONG);
        let always = changes == ROUNDS as usize;
        let moving = matches!(names.failure(), Some(Error::Moving));
        assert_eq!(moving, always, "{changes}");
        assert_eq!(names.needs_refresh(), always, "{changes}");
        assert_eq!(all(&names).len(), 3);
        drop(names);
        assert_eq!(kernel.join().unwrap().len(), 4 * rounds);
    }
}

/// Check that an answer without end is not waited for.
#[test]
fn an_endless_answer_is_a_failure() {
    let (mut names, peer) = unasked();
    let kernel =
        thread::spawn(
            move || {
                while send(&peer, &bytes(FAMILY_VPORT), SendFlags::empty()).is_ok() {}
            },
        );
    names.ask(SHORT);
    assert!(names.failure().is_some());
    drop(names);
    kernel.join().unwrap();
}

/// Check that this machine's kernel is asked again with success although its last answer was not read to its end.
#[test]
fn half_an_answer_of_this_kernel() {
    let mut socket = Socket::open(std::process::id()).unwrap();
    let mut families = |patience| {
        let mut count = 0;
        let each = |_: u16, _: &CStr, _: &[u8]| count += 1;
        let listed = socket.for_each_family(&Deadline::within(patience), each);
        (listed.map_err(|error| error.kind()), count)
    };
    // The end of the list is a datagram of its own.
    let (half, _) = families(Duration::ZERO);
    assert_eq!(half, Err(io::ErrorKind::TimedOut));
    let (whole, count) = families(LONG);
    assert_eq!(whole, Ok(()));
    assert!(count > 0);
}
