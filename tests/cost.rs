//! The matcher of upcall-cost: which events it puts together, and how it counts the others.

#[path = "common/cost.rs"]
mod common;

use std::collections::BTreeMap;

use common::{Numbers, attribute, captured, key, packet, request};
use ovs_tracers::cost::matcher::{Found, MAX_AGE, MAX_HELD, Matcher, Reason};
use ovs_tracers::cost::{Event, Kind};

/// What a set has: the times of its kernel upcall, receive, put, execute and kernel execution.
type Times = [Option<u64>; 5];

/// Runs the matcher, and sorts the sets by the times of their kernel upcalls.
fn run(events: &[Event<'_>]) -> (Vec<Times>, BTreeMap<(Kind, Reason), u64>) {
    let mut matcher = Matcher::default();
    let mut sets = Vec::new();
    let mut found = |found: Found<'_>| {
        if let Found::Set(set) = found {
            if set.upcall.is_none() {
                return;
            }
            sets.push([
                set.upcall,
                Some(set.receive),
                set.put,
                set.execute,
                set.kernel,
            ]);
        }
    };
    for event in events {
        matcher.event(event, &mut found);
    }
    matcher.finish(&mut found);
    sets.sort();
    let unmatched = matcher
        .unmatched()
        .map(|(kind, reason, count)| ((kind, reason), count))
        .collect();
    (sets, unmatched)
}

/// When the daemon had looked up each upcall, in the order of their receives.
fn looked_up(events: &[Event<'_>]) -> Vec<(u64, Option<u64>)> {
    let mut matcher = Matcher::default();
    let mut times = Vec::new();
    let mut found = |found: Found<'_>| {
        if let Found::Set(set) = found {
            times.push((set.receive, set.looked_up));
        }
    };
    for event in events {
        matcher.event(event, &mut found);
    }
    matcher.finish(&mut found);
    times.sort();
    times
}

/// Check that the time of a lookup ends with the next upcall of the batch or its first operation, and is not known if
/// the daemon may have waited in between: after an upcall without any operation, unless the next one was there already.
#[test]
fn lookups() {
    let ends = |text: &str| looked_up(&vector(text));
    assert_eq!(
        ends("upcall1 upcall2 receive1 receive2 put execute1 put execute2 kernel kernel"),
        [(3, Some(4)), (4, Some(5))]
    );
    // The first has no operation, and the second comes while or after the daemon looks up the first.
    assert_eq!(
        ends("upcall1 receive1 upcall2 receive2 put execute2 kernel"),
        [(2, None), (4, Some(5))]
    );
    assert_eq!(
        ends("upcall1 upcall2 receive1 receive2 put execute2 kernel"),
        [(3, Some(4)), (4, Some(5))]
    );
    // The first has an operation, so that the second is of the same batch although it came later and has none.
    assert_eq!(
        ends(
            "upcall1 receive1 upcall2 receive2 upcall3 receive3 put execute1 put execute3 kernel kernel"
        ),
        [(2, Some(4)), (4, Some(6)), (6, Some(7))]
    );
    assert_eq!(ends("upcall1 receive1"), [(2, None)]);
}

/// The events of a vector, whose words are `upcall1`, `receive1`, `put`, `execute1` and `kernel`: the number is that of
/// the packet, and `:2` behind a word makes it an event of thread 2. The times are the places of the words, from 1 on.
fn vector(text: &str) -> Vec<Event<'static>> {
    const KEY: &[u8] = &[8, 0, 3, 0, 1, 0, 0, 0];
    const PACKETS: [&[u8]; 3] = [b"\0\0\0\0\x01", b"\0\0\0\0\x02", b"\0\0\0\0\x03"];
    let event = |(i, word): (usize, &str)| {
        let (what, thread) = word.split_once(':').unwrap_or((word, "1"));
        let time = i as u64 + 1;
        let (what, number) = what.split_at(what.trim_end_matches(char::is_numeric).len());
        let number = number.parse().unwrap_or(1usize);
        let packet = captured(PACKETS[number - 1], 5);
        let of_thread = |kind| Event {
            tid: thread.parse().unwrap(),
            comm: b"handler",
            unfinished: true,
            ..Event::new(kind, time)
        };
        match what {
            "upcall" => Event {
                port: Some(1),
                datapath: b"ovs-system",
                packet,
                ..of_thread(Kind::DpUpcall)
            },
            "receive" => Event {
                port: Some(1),
                datapath: b"system@ovs-system",
                packet,
                key: captured(KEY, 8),
                ..of_thread(Kind::RecvUpcall)
            },
            "put" => of_thread(Kind::OpFlowPut),
            "execute" => Event {
                packet,
                ..of_thread(Kind::OpFlowExecute)
            },
            "kernel" => of_thread(Kind::OvsPktExec),
            other => panic!("{other}"),
        }
    };
    text.split(' ').enumerate().map(event).collect()
}

/// Check that the sets of the vectors of upstream's `upcall_cost.py --unit-test` are those that it expects. A set is
/// the places of its events, 0 where it has none.
#[test]
fn upstream_vectors() {
    let third = "upcall1 upcall2 upcall3 receive1 receive3 receive2 \
                 put execute1 kernel put execute3 kernel put execute2 kernel";
    let cases: [(&str, &[[u64; 5]]); 7] = [
        ("upcall1 receive1 put execute1 kernel", &[[1, 2, 3, 4, 5]]),
        ("upcall1 receive1 execute1 kernel", &[[1, 2, 0, 3, 4]]),
        (
            third,
            &[[1, 4, 7, 8, 9], [2, 6, 13, 14, 15], [3, 5, 10, 11, 12]],
        ),
        (
            &format!("upcall1 receive1 put execute1 kernel {third}"),
            &[
                [1, 2, 3, 4, 5],
                [6, 9, 12, 13, 14],
                [7, 11, 18, 19, 20],
                [8, 10, 15, 16, 17],
            ],
        ),
        (
            "upcall1 upcall2 receive1 receive2:2 put:2 put execute2:2 execute1 kernel kernel:2",
            &[[1, 3, 6, 8, 9], [2, 4, 5, 7, 10]],
        ),
        (
            "upcall1 upcall2 receive1 receive2 put execute2 kernel",
            &[[1, 3, 0, 0, 0], [2, 4, 5, 6, 7]],
        ),
        (
            "upcall1 upcall2 upcall3 receive1 receive2 receive3 \
             put execute1 put execute2 put execute3 kernel kernel kernel",
            &[[1, 4, 7, 8, 13], [2, 5, 9, 10, 14], [3, 6, 11, 12, 15]],
        ),
    ];
    for (text, expected) in cases {
        let (sets, unmatched) = run(&vector(text));
        let expected: Vec<Times> = expected
            .iter()
            .map(|set| set.map(|place| (place > 0).then_some(place)))
            .collect();
        assert_eq!(sets, expected, "{text}");
        assert!(unmatched.is_empty(), "{text}: {unmatched:?}");
    }
}

/// A flow, and the events of its upcalls as the BPF program records them.
struct Flow {
    packet: Vec<u8>,
    key: Vec<u8>,
    request: Vec<u8>,
    port: u32,
}

impl Flow {
    fn new(packet: Vec<u8>, port: u32) -> Self {
        let key = key(port, &packet);
        Self {
            request: request(&key),
            packet,
            key,
            port,
        }
    }

    fn upcall(&self, time: u64) -> Event<'_> {
        Event {
            datapath: b"system@ovs-system",
            device: b"veth1",
            port: Some(self.port),
            portid: 4001,
            skb: 0xffff_8880_0000_1000,
            packet: captured(&self.packet, self.packet.len()),
            ..Event::new(Kind::DpUpcall, time)
        }
    }

    fn failed(&self, time: u64, errno: i32) -> Event<'_> {
        Event {
            kind: Kind::DpFailed,
            result: -errno,
            packet: captured(b"", self.packet.len()),
            ..self.upcall(time)
        }
    }

    fn receive(&self, time: u64) -> Event<'_> {
        Event {
            tid: 1,
            comm: b"handler1",
            datapath: b"system@ovs-system",
            port: Some(self.port),
            packet: captured(&self.packet, self.packet.len()),
            key: captured(&self.key, self.key.len()),
            ..Event::new(Kind::RecvUpcall, time)
        }
    }

    fn put(&self, time: u64) -> Event<'_> {
        Event {
            tid: 1,
            key: captured(&self.request, self.request.len()),
            ..Event::new(Kind::OpFlowPut, time)
        }
    }

    fn execute(&self, time: u64) -> Event<'_> {
        Event {
            tid: 1,
            packet: captured(&self.packet, self.packet.len()),
            ..Event::new(Kind::OpFlowExecute, time)
        }
    }

    fn kernel(&self, time: u64) -> Event<'_> {
        Event {
            tid: 1,
            packet: captured(b"", self.packet.len()),
            ..Event::new(Kind::OvsPktExec, time)
        }
    }
}

fn times<const N: usize>(sets: [[u64; 5]; N]) -> Vec<Times> {
    let time = |time: u64| (time > 0).then_some(time);
    sets.map(|set| set.map(time)).to_vec()
}

fn flow(number: u32) -> Flow {
    Flow::new(packet(false, number, 60), 1)
}

/// Check that a checksum which the kernel had not completed does not matter, wherever the capture ends, and that any
/// other byte does.
#[test]
fn checksum() {
    let flow = Flow::new(packet(true, 7, 98), 1);
    for len in [98, 60, 52, 51, 50, 49] {
        for changed in [50, 51, 20, 40] {
            let mut bytes = flow.packet.clone();
            bytes[changed] ^= 0x55;
            bytes.truncate(len);
            let upcall = Event {
                packet: captured(&bytes, 98),
                checksum: Some(50..52),
                ..flow.upcall(1)
            };
            let (sets, unmatched) = run(&[upcall, flow.receive(2)]);
            let is_checksum = changed >= 50;
            assert_eq!(sets.len(), usize::from(is_checksum), "{len} {changed}");
            assert_eq!(unmatched.is_empty(), is_checksum, "{len} {changed}");
        }
    }
}

/// Check the same of packets without an Ethernet header, as the tracepoint shows them, which says neither that nor where a
/// checksum is: the key of the receive says the former. The second flow begins with IPv6.
#[test]
fn checksum_without_ethernet() {
    const ETHERNET: usize = 14;
    let of_ipv4 = Flow::new(packet(true, 7, 98), 1);
    let ipv4 = of_ipv4.packet[ETHERNET..].to_vec();
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 64, 6, 64];
    ipv6.extend([[0xfe; 16], [0xfd; 16]].concat());
    ipv6.extend(&ipv4[20..]);
    for (packet, ether_type, checksum) in [(ipv4, [8, 0], 36), (ipv6, [0x86, 0xdd], 56)] {
        let key = [attribute(3, &1u32.to_ne_bytes()), attribute(6, &ether_type)].concat();
        let flow = Flow {
            request: request(&key),
            packet,
            key,
            port: 1,
        };
        for changed in [checksum, checksum + 1, checksum - 1, checksum + 2, 20, 13] {
            let mut bytes = flow.packet.clone();
            bytes[changed] ^= 0x55;
            let upcall = Event {
                packet: captured(&bytes, bytes.len()),
                unfinished: true,
                ..flow.upcall(1)
            };
            let receive = Event {
                unfinished: true,
                ..flow.receive(2)
            };
            let (sets, _) = run(&[upcall.clone(), receive.clone()]);
            let is_checksum = (checksum..checksum + 2).contains(&changed);
            assert_eq!(
                sets.len(),
                usize::from(is_checksum),
                "{ether_type:?} {changed}"
            );
            // A frame with the same bytes is another packet.
            let ethernet = Event {
                key: captured(&of_ipv4.key, of_ipv4.key.len()),
                ..receive
            };
            assert!(run(&[upcall, ethernet]).0.is_empty());
        }
    }
}

/// Check that segments of a packet without an Ethernet header are found by the packet that the tracepoint saw whole.
#[test]
fn segments_without_ethernet() {
    let whole = packet(true, 7, 14 + 40 + 2000)[14..].to_vec();
    let segment = |number: usize| {
        let mut segment = [&whole[..40], &whole[40 + 1000 * number..][..1000]].concat();
        segment[2..4].copy_from_slice(&1040u16.to_be_bytes());
        segment[24..28].copy_from_slice(&(1000 * number as u32).to_be_bytes());
        segment
    };
    let key = [attribute(3, &1u32.to_ne_bytes()), attribute(6, &[8, 0])].concat();
    let flow = |packet| Flow {
        request: request(&key),
        packet,
        key: key.clone(),
        port: 1,
    };
    let (segments, whole) = ([flow(segment(0)), flow(segment(1))], flow(whole.clone()));
    let events = [
        whole.upcall(1),
        segments[0].receive(2),
        segments[1].receive(3),
    ];
    let events = events.map(|event| Event {
        unfinished: true,
        ..event
    });
    let (sets, unmatched) = run(&events);
    assert_eq!(sets, times([[1, 2, 0, 0, 0], [1, 3, 0, 0, 0]]));
    assert!(unmatched.is_empty(), "{unmatched:?}");
}

/// Check that a packet in pages is recognised by its first part, however long that is.
#[test]
fn paged() {
    let flows = [1, 2, 3].map(|number| Flow::new(packet(false, number, 1514), 1));
    for len in [38, 42, 54, 64, 66, 200, 1000] {
        let mut events: Vec<Event<'_>> = Vec::new();
        for (flow, time) in flows.iter().zip(1..) {
            events.push(Event {
                packet: captured(&flow.packet[..len], 1514),
                ..flow.upcall(time)
            });
        }
        for (flow, time) in flows.iter().rev().zip(4..) {
            events.push(Event {
                packet: captured(&flow.packet[..256], 1514),
                ..flow.receive(time)
            });
        }
        let (sets, unmatched) = run(&events);
        let expected = times([[1, 6, 0, 0, 0], [2, 5, 0, 0, 0], [3, 4, 0, 0, 0]]);
        assert_eq!(sets, expected, "{len}");
        assert!(unmatched.is_empty(), "{len}");
    }
}

/// Check that port, datapath, size and type distinguish packets that begin with the same bytes.
#[test]
fn distinguished() {
    let flow = flow(1);
    let others = [
        Event {
            port: Some(2),
            ..flow.upcall(1)
        },
        Event {
            datapath: b"system@other",
            ..flow.upcall(1)
        },
        Event {
            packet: captured(&flow.packet, 61),
            ..flow.upcall(1)
        },
        Event {
            upcall_type: 1,
            ..flow.upcall(1)
        },
    ];
    for other in others {
        let (sets, unmatched) = run(&[other, flow.upcall(2), flow.receive(3)]);
        assert_eq!(sets, times([[2, 3, 0, 0, 0]]));
        assert_eq!(unmatched[&(Kind::DpUpcall, Reason::InFlight)], 1);
    }
    // A receive whose key was cut before the port.
    let portless = Event {
        port: None,
        ..flow.receive(3)
    };
    assert_eq!(run(&[flow.upcall(1), portless]).0.len(), 1);
}

/// Check that equal packets are received in the order in which they were sent, and that one which failed is not taken
/// for one that was received.
#[test]
fn equal_and_failed() {
    let flow = flow(1);
    let events = [
        flow.upcall(1),
        flow.failed(2, 11),
        flow.upcall(3),
        flow.upcall(4),
        flow.failed(5, 105),
        flow.upcall(6),
        flow.receive(7),
        flow.receive(8),
        flow.failed(9, 11),
    ];
    let (sets, unmatched) = run(&events);
    assert_eq!(sets, times([[3, 7, 0, 0, 0], [6, 8, 0, 0, 0]]));
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::Failed)], 2);
    assert_eq!(unmatched[&(Kind::DpFailed, Reason::NoSuchUpcall)], 1);
    let mut matcher = Matcher::default();
    for event in &events {
        matcher.event(event, &mut |_| {});
    }
    assert_eq!(matcher.failed().collect::<Vec<_>>(), [(11, 2), (105, 1)]);
}

/// Check that a failure belongs to a kernel upcall only if CPU and packet are the same.
#[test]
fn failures_of_others() {
    let flow = flow(1);
    let elsewhere = Event {
        cpu: 1,
        ..flow.failed(2, 11)
    };
    let another = Event {
        skb: 1,
        ..flow.failed(2, 11)
    };
    for failure in [elsewhere, another] {
        let (sets, unmatched) = run(&[flow.upcall(1), failure, flow.receive(3)]);
        assert_eq!(sets, times([[1, 3, 0, 0, 0]]));
        assert_eq!(unmatched[&(Kind::DpFailed, Reason::NoSuchUpcall)], 1);
    }
}

/// Check that equal packets on two sockets go to the threads that read them, once it is known who does.
#[test]
fn sockets() {
    let (first, second, equal) = (flow(1), flow(2), flow(3));
    let on = |event: Event<'static>, portid| Event { portid, ..event };
    let by = |event: Event<'static>, tid| Event { tid, ..event };
    // Events of flows that live as long as the test.
    let (first, second, equal): (&'static Flow, &'static Flow, &'static Flow) = (
        Box::leak(Box::new(first)),
        Box::leak(Box::new(second)),
        Box::leak(Box::new(equal)),
    );
    let (sets, unmatched) = run(&[
        on(first.upcall(1), 71),
        by(first.receive(2), 1),
        on(second.upcall(3), 72),
        by(second.receive(4), 2),
        on(equal.upcall(5), 71),
        on(equal.upcall(6), 72),
        by(equal.receive(7), 2),
        by(equal.receive(8), 1),
    ]);
    assert_eq!(sets[2..], times([[5, 8, 0, 0, 0], [6, 7, 0, 0, 0]]));
    assert!(unmatched.is_empty());
}

/// Check that an upcall is put together even if its events are in the wrong order, its receive first.
#[test]
fn out_of_order() {
    let (a, b) = (flow(1), flow(2));
    let (sets, unmatched) = run(&[
        a.receive(20),
        b.receive(21),
        b.upcall(11),
        a.upcall(10),
        b.upcall(30),
    ]);
    assert_eq!(sets, times([[10, 20, 0, 0, 0], [11, 21, 0, 0, 0]]));
    assert_eq!(unmatched.len(), 1);
    // An upcall that the kernel sent later was not received earlier.
    let (sets, _) = run(&[a.receive(20), a.upcall(21)]);
    assert!(sets.is_empty());
}

/// Check that a put belongs to the upcall that has its flow key, in whatever order, and that puts of other flows and
/// those of other threads are reported.
#[test]
fn puts() {
    let (a, b, c) = (flow(1), flow(2), flow(3));
    let (sets, unmatched) = run(&[
        a.upcall(1),
        b.upcall(2),
        a.receive(3),
        b.receive(4),
        // The daemon's own flow, between those of the upcalls.
        c.put(5),
        b.put(6),
        b.execute(7),
        a.put(8),
        b.kernel(9),
        Event {
            tid: 9,
            ..c.put(10)
        },
    ]);
    assert_eq!(sets, times([[1, 3, 8, 0, 0], [2, 4, 6, 7, 9]]));
    assert_eq!(unmatched[&(Kind::OpFlowPut, Reason::OtherFlow)], 1);
    assert_eq!(unmatched[&(Kind::OpFlowPut, Reason::NoBatch)], 1);
}

/// Check that equal upcalls of a batch have one put and an execute each, as the daemon does it.
#[test]
fn equal_in_a_batch() {
    let flow = flow(1);
    let (sets, unmatched) = run(&[
        flow.upcall(1),
        flow.upcall(2),
        flow.upcall(3),
        flow.receive(4),
        flow.receive(5),
        flow.receive(6),
        flow.put(7),
        flow.execute(8),
        flow.execute(9),
        flow.execute(10),
        flow.kernel(11),
        flow.kernel(12),
        flow.kernel(13),
    ]);
    let expected = [[1, 4, 7, 8, 11], [2, 5, 0, 9, 12], [3, 6, 0, 10, 13]];
    assert_eq!(sets, times(expected));
    assert!(unmatched.is_empty());
}

/// Check that a lost event changes nothing but its own place: of a batch of four upcalls each event in turn is lost.
#[test]
fn lost_events() {
    let flows: Vec<Flow> = (1..=4)
        .map(|number| Flow::new(packet(false, number, 60 + number as usize), 1))
        .collect();
    let mut events = Vec::new();
    let mut time = 0..;
    let mut now = || time.next().unwrap_or(0) + 1;
    events.extend(flows.iter().map(|flow| flow.upcall(now())));
    events.extend(flows.iter().map(|flow| flow.receive(now())));
    for flow in &flows {
        events.push(flow.put(now()));
        events.push(flow.execute(now()));
    }
    events.extend(flows.iter().map(|flow| flow.kernel(now())));
    let (whole, unmatched) = run(&events);
    assert_eq!(whole.len(), 4);
    assert!(whole.iter().flatten().all(Option::is_some));
    assert!(unmatched.is_empty());
    for lost in 0..events.len() {
        let mut remaining = events.clone();
        let gone = remaining.remove(lost);
        let mut expected = whole.clone();
        match gone.kind {
            Kind::DpUpcall | Kind::RecvUpcall => {
                expected.retain(|set| !set.contains(&Some(gone.time)));
            }
            kind => {
                for time in expected.iter_mut().flatten() {
                    if *time == Some(gone.time) {
                        *time = None;
                    }
                }
                if kind == Kind::OpFlowExecute {
                    // What the kernel did with it is not known then.
                    let packet = flows
                        .iter()
                        .position(|flow| flow.packet == gone.packet.bytes);
                    expected[packet.unwrap()][4] = None;
                }
            }
        }
        assert_eq!(run(&remaining).0, expected, "without {gone:?}");
    }
}

/// Check that whatever events are lost, those that are put together are of one upcall, but for what the kernel
/// executes, of which the size alone is known; and that no event is in two sets.
#[test]
fn any_lost_events() {
    const UPCALLS: u64 = 40;
    let flows: Vec<Flow> = (0..UPCALLS)
        .map(|number| {
            Flow::new(
                packet(number % 3 == 0, number as u32, 60 + number as usize % 3),
                1,
            )
        })
        .collect();
    let mut numbers = Numbers(7);
    for round in 0..500 {
        // An upcall's events are at a thousand times its number and their own, so that a time says whose it is.
        let mut events: Vec<Event<'_>> = Vec::new();
        let mut next = 0;
        while next < UPCALLS {
            let end = UPCALLS.min(next + 1 + numbers.below(8));
            let batch: Vec<(&Flow, u64)> = (next..end)
                .map(|n| (&flows[n as usize], 1 + n * 1000))
                .collect();
            next = end;
            events.extend(batch.iter().map(|(flow, time)| flow.upcall(*time)));
            events.extend(batch.iter().map(|(flow, time)| flow.receive(time + 1)));
            for (flow, time) in &batch {
                events.push(flow.put(time + 2));
                events.push(flow.execute(time + 3));
            }
            events.extend(batch.iter().map(|(flow, time)| flow.kernel(time + 4)));
        }
        let percent = numbers.below(60);
        events.retain(|_| numbers.below(100) >= percent);
        let (sets, unmatched) = run(&events);
        let mut seen = std::collections::BTreeSet::new();
        for set in &sets {
            for (place, time) in set.iter().enumerate() {
                let Some(time) = time else { continue };
                assert!(seen.insert(*time), "round {round}: {time} is in two sets");
                assert_eq!(time % 1000, 1 + place as u64);
                if place < 4 {
                    let upcall = set[0].map(|first| first / 1000);
                    assert_eq!(upcall, Some(time / 1000), "round {round}: {set:?}");
                }
            }
        }
        let of = |kind| events.iter().filter(|event| event.kind == kind).count() as u64;
        let alone = |kind| -> u64 {
            let counts = unmatched.iter().filter(|((of, _), _)| *of == kind);
            counts.map(|(_, count)| count).sum()
        };
        for kind in [Kind::DpUpcall, Kind::RecvUpcall] {
            assert_eq!(
                of(kind),
                sets.len() as u64 + alone(kind),
                "round {round}: {kind:?}"
            );
        }
    }
}

/// Check that an upcall which is overtaken on its socket for long is given up, so that the receive of an equal one is
/// not taken for its own.
#[test]
fn overtaken() {
    const SECOND: u64 = 1_000_000_000;
    let (a, b) = (flow(1), flow(2));
    let (sets, unmatched) = run(&[
        a.upcall(1),
        b.upcall(SECOND),
        b.receive(SECOND + 1),
        a.upcall(SECOND + 2),
        a.receive(SECOND + 3),
    ]);
    assert_eq!(
        sets[1],
        [Some(SECOND + 2), Some(SECOND + 3), None, None, None]
    );
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::Overtaken)], 1);
}

/// Check that upcalls which are never received are given up when they are too old or too many.
#[test]
fn never_received() {
    let flow = flow(1);
    let none = |event| Event { portid: 0, ..event };
    let (_, unmatched) = run(&[none(flow.upcall(1)), none(flow.upcall(MAX_AGE + 2))]);
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::TimedOut)], 1);
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::InFlight)], 1);
    let many = 1 << 17;
    let events: Vec<_> = (1..=many + 10)
        .map(|time| none(flow.upcall(time)))
        .collect();
    let (_, unmatched) = run(&events);
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::PushedOut)], 10);
    assert_eq!(unmatched[&(Kind::DpUpcall, Reason::InFlight)], many);
}

/// Check that threads which receive and never operate do not let the batches grow without bound: the sets that are not
/// yet reported never need more than the memory for them.
#[test]
fn receives_alone() {
    let flow = Flow::new(packet(false, 1, 1514), 1);
    let mut matcher = Matcher::default();
    let (mut received, mut reported, mut most) = (0, 0, 0);
    for time in 1..60_000 {
        let event = Event {
            tid: 1 + time as u32 % 3000,
            ..flow.receive(time)
        };
        matcher.event(&event, &mut |found| {
            reported += usize::from(matches!(found, Found::Set(_)));
        });
        received += 1;
        most = most.max(received - reported);
    }
    assert!(most * flow.packet.len() <= MAX_HELD, "{most} are held");
    matcher.finish(&mut |found| reported += usize::from(matches!(found, Found::Set(_))));
    assert_eq!(reported, received);
}

/// Check that packets are found wherever their checksums are and however much of them was captured, even if no two are
/// alike in this.
#[test]
fn checksums_everywhere() {
    let flows: Vec<Flow> = (0..250)
        .map(|number| Flow::new(packet(true, number, 300), 1))
        .collect();
    let mut events = Vec::new();
    for (n, flow) in flows.iter().enumerate() {
        let upcall = Event {
            packet: captured(&flow.packet[..250 - n % 50], 300),
            checksum: Some(40 + n..42 + n),
            ..flow.upcall(1 + n as u64)
        };
        events.push(upcall);
    }
    events.extend(
        flows
            .iter()
            .zip(1000..)
            .map(|(flow, time)| flow.receive(time)),
    );
    let (sets, unmatched) = run(&events);
    assert!(unmatched.is_empty(), "{unmatched:?}");
    for (set, n) in sets.iter().zip(0..) {
        assert_eq!(set[..2], [Some(1 + n), Some(1000 + n)]);
    }
}

/// Check that operations find their upcall behind many that led to none, and that executes which the kernel is not seen
/// to begin are all counted.
#[test]
fn long_runs() {
    let flows: Vec<Flow> = (0..1000).map(flow).collect();
    let mut events: Vec<Event<'_>> = flows
        .iter()
        .zip(1..)
        .map(|(flow, time)| flow.receive(time))
        .collect();
    let last = &flows[999];
    events.extend([last.put(2000), last.execute(2001)]);
    events.extend(
        flows[..600]
            .iter()
            .zip(2002..)
            .map(|(flow, time)| flow.execute(time)),
    );
    let mut operated = Vec::new();
    let mut matcher = Matcher::default();
    let mut found = |found: Found<'_>| {
        if let Found::Set(set) = found
            && set.execute.is_some()
        {
            operated.push((set.receive, set.put, set.execute));
        }
    };
    for event in &events {
        matcher.event(event, &mut found);
    }
    matcher.finish(&mut found);
    assert_eq!(operated, [(1000, Some(2000), Some(2001))]);
    let counts: BTreeMap<_, _> = matcher
        .unmatched()
        .map(|(kind, reason, count)| ((kind, reason), count))
        .collect();
    assert_eq!(counts[&(Kind::OpFlowExecute, Reason::OtherPacket)], 600);
    assert_eq!(counts[&(Kind::OpFlowExecute, Reason::NotExecuted)], 601);
}
