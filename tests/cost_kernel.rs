//! The matcher of upcall-cost on events of which the kernel is the only source: an upcall is followed by the address of
//! its message, then by its key and its bytes, and a kernel execution by the request that it is in.

#[path = "common/cost.rs"]
mod common;

use std::collections::BTreeMap;

use common::{captured, key, packet, request};
use ovs_tracers::cost::matcher::{Found, Matcher, Reason};
use ovs_tracers::cost::stage::Stage;
use ovs_tracers::cost::{Event, Kind};

/// What a set has: the times of its kernel upcall, queue, receive, put, execute and kernel execution.
type Times = [Option<u64>; 6];

/// The nanoseconds of each of [`Stage::KERNEL`], and the errors of put and execute.
type InKernel = ([Option<u64>; 4], [Option<i32>; 2]);

struct Run {
    /// In the order of their receives.
    sets: Vec<Times>,
    kernel: Vec<InKernel>,
    unmatched: BTreeMap<(Kind, Reason), u64>,
    failed: Vec<(Kind, i32, u64)>,
}

fn run(events: &[Event<'_>]) -> Run {
    let mut matcher = Matcher::default();
    let mut sets = Vec::new();
    let mut found = |found: Found<'_>| {
        if let Found::Set(set) = found {
            let times = [
                set.upcall,
                set.queued,
                Some(set.receive),
                set.put,
                set.execute,
                set.kernel,
            ];
            let error = |request: Option<ovs_tracers::cost::matcher::Request>| request?.error;
            let kernel = Stage::KERNEL.map(|stage| stage.of(set));
            let errors = [error(set.put_request), error(set.execute_request)];
            sets.push((set.receive, times, (kernel, errors)));
        }
    };
    for event in events {
        matcher.event(event, &mut found);
    }
    matcher.finish(&mut found);
    sets.sort();
    Run {
        sets: sets.iter().map(|(_, times, _)| *times).collect(),
        kernel: sets.iter().map(|(_, _, kernel)| *kernel).collect(),
        unmatched: matcher
            .unmatched()
            .map(|(kind, reason, count)| ((kind, reason), count))
            .collect(),
        failed: matcher.failed_requests().collect(),
    }
}

fn times<const N: usize>(sets: [[u64; 6]; N]) -> Vec<Times> {
    let time = |time: u64| (time > 0).then_some(time);
    sets.map(|set| set.map(time)).to_vec()
}

fn unmatched<const N: usize>(counts: [(Kind, Reason, u64); N]) -> BTreeMap<(Kind, Reason), u64> {
    let counts = counts.map(|(kind, reason, count)| ((kind, reason), count));
    counts.into_iter().collect()
}

/// When the daemon sent a request, and when the kernel began and ended it.
type Span = [u64; 3];

struct Flow {
    packet: Vec<u8>,
    key: Vec<u8>,
    request: Vec<u8>,
}

/// An address in the kernel.
fn address(number: u64) -> u64 {
    0xffff_8880_0000_0000 + number * 0x100
}

impl Flow {
    fn new(number: u32) -> Self {
        Self::of(packet(false, number, 60))
    }

    fn of(packet: Vec<u8>) -> Self {
        let key = key(1, &packet);
        Self {
            request: request(&key),
            packet,
            key,
        }
    }

    /// Its packet leaves the datapath at `time`, and the socket gets its message one nanosecond later.
    fn queued(&self, cpu: u32, skb: u64, message: u64, time: u64) -> [Event<'_>; 2] {
        let event = |kind, time| Event {
            cpu,
            skb: address(skb),
            portid: 4001 + cpu,
            ..Event::new(kind, time)
        };
        [
            Event {
                datapath: b"system@ovs-system",
                port: Some(1),
                packet: captured(&self.packet, self.packet.len()),
                ..event(Kind::DpUpcall, time)
            },
            Event {
                message: address(message),
                ..event(Kind::DpQueued, time + 1)
            },
        ]
    }

    fn receive(&self, tid: u32, message: u64, time: u64) -> Event<'_> {
        Event {
            tid,
            comm: b"handler",
            message: address(message),
            dp_ifindex: Some(6),
            port: Some(1),
            packet: captured(&self.packet, self.packet.len()),
            key: captured(&self.key, self.key.len()),
            ..Event::new(Kind::RecvUpcall, time)
        }
    }

    fn put(&self, tid: u32, span: Span, errno: i32) -> Event<'_> {
        Event {
            key: captured(&self.request, self.request.len()),
            ..requested(Kind::OpFlowPut, tid, span, errno)
        }
    }

    /// The kernel begins to execute in the middle of the request.
    fn execute(&self, tid: u32, span: Span, errno: i32) -> [Event<'_>; 2] {
        let kernel = Event {
            tid,
            begun: Some(span[1]),
            packet: captured(b"", self.packet.len()),
            ..Event::new(Kind::OvsPktExec, span[1] + 1)
        };
        let execute = Event {
            packet: captured(&self.packet, self.packet.len()),
            ..requested(Kind::OpFlowExecute, tid, span, errno)
        };
        [kernel, execute]
    }
}

fn requested(kind: Kind, tid: u32, [sent, begun, ended]: Span, errno: i32) -> Event<'static> {
    Event {
        tid,
        begun: Some(begun),
        ended: Some(ended),
        result: -errno,
        ..Event::new(kind, sent)
    }
}

/// Check that frames which are equal in every byte are each found by the address of their message, in whatever order
/// and by whatever thread they are received.
#[test]
fn identical_frames() {
    let flow = Flow::new(1);
    let mut events = Vec::new();
    for n in 0..4 {
        events.extend(flow.queued(n as u32 % 2, 7, n, 10 * n + 10));
    }
    for (tid, message, time) in [(1, 3, 50), (2, 0, 51), (2, 2, 52), (1, 1, 53)] {
        events.push(flow.receive(tid, message, time));
    }
    let run = run(&events);
    assert_eq!(
        run.sets,
        times([
            [40, 41, 50, 0, 0, 0],
            [10, 11, 51, 0, 0, 0],
            [30, 31, 52, 0, 0, 0],
            [20, 21, 53, 0, 0, 0],
        ])
    );
    assert!(run.unmatched.is_empty(), "{:?}", run.unmatched);
}

/// Check that each segment of a packet is an upcall of its own: one address of a packet, several messages.
#[test]
fn segments() {
    let segments = [1, 1, 2].map(Flow::new);
    let mut events = Vec::new();
    for (i, segment) in segments.iter().enumerate() {
        events.extend(segment.queued(0, 7, i as u64, 10 + 10 * i as u64));
    }
    for (i, segment) in segments.iter().enumerate() {
        events.push(segment.receive(1, i as u64, 50 + i as u64));
    }
    // They are of one flow here: one put, and an execute of each.
    events.push(segments[0].put(1, [60, 61, 65], 0));
    events.extend(segments[0].execute(1, [60, 66, 70], 0));
    events.extend(segments[1].execute(1, [60, 71, 75], 0));
    events.extend(segments[2].execute(1, [60, 76, 80], 0));
    let run = run(&events);
    assert_eq!(
        run.sets,
        times([
            [10, 11, 50, 60, 60, 67],
            [20, 21, 51, 0, 60, 72],
            [30, 31, 52, 0, 60, 77],
        ])
    );
    assert!(run.unmatched.is_empty(), "{:?}", run.unmatched);
}

/// Check that an address which the kernel uses again is that of the latest message there, also if the receive before
/// was lost, and that a message of another kind is not taken for it.
#[test]
fn reused_address() {
    let (one, other) = (Flow::new(1), Flow::new(2));
    let mut events = Vec::new();
    events.extend(one.queued(0, 7, 5, 10));
    events.push(one.receive(1, 5, 20));
    events.extend(other.queued(0, 7, 5, 30));
    // Its receive is lost.
    events.extend(one.queued(1, 8, 5, 40));
    events.push(one.receive(1, 5, 50));
    let first = run(&events);
    assert_eq!(
        first.sets,
        times([[10, 11, 20, 0, 0, 0], [40, 41, 50, 0, 0, 0]])
    );
    assert_eq!(
        first.unmatched,
        unmatched([(Kind::DpUpcall, Reason::Reused, 1)])
    );

    // The queue event of the third is lost, too: at its address the second is known, whose type and port differ.
    for stale in [
        Event {
            upcall_type: 1,
            ..other.queued(0, 7, 5, 30)[0].clone()
        },
        Event {
            port: Some(2),
            ..other.queued(0, 7, 5, 30)[0].clone()
        },
    ] {
        let [upcall, _] = one.queued(1, 8, 5, 40);
        let [_, queued] = other.queued(0, 7, 5, 30);
        let run = run(&[stale, queued, upcall, one.receive(1, 5, 50)]);
        assert_eq!(run.sets, times([[40, 0, 50, 0, 0, 0]]));
    }
}

/// Check that an upcall whose message could not be queued is counted as failed, and does not own the address.
#[test]
fn failed_to_queue() {
    let flow = Flow::new(1);
    let [upcall, queued] = flow.queued(0, 7, 5, 10);
    let failed = Event {
        result: -11,
        ..Event {
            kind: Kind::DpFailed,
            time: 12,
            ..upcall.clone()
        }
    };
    let mut events = vec![upcall, queued, failed];
    events.extend(flow.queued(0, 7, 5, 20));
    events.push(flow.receive(1, 5, 30));
    let run = run(&events);
    assert_eq!(run.sets, times([[20, 21, 30, 0, 0, 0]]));
    assert_eq!(
        run.unmatched,
        unmatched([(Kind::DpUpcall, Reason::Failed, 1)])
    );
}

/// A batch of two upcalls, whose four requests the daemon sends in one message. The first put fails.
fn batch(flows: &[Flow; 2]) -> Vec<Event<'_>> {
    const EEXIST: i32 = 17;
    let mut events = Vec::new();
    events.extend(flows[0].queued(0, 7, 1, 10));
    events.extend(flows[1].queued(1, 8, 2, 14));
    events.push(flows[0].receive(1, 1, 20));
    events.push(flows[1].receive(1, 2, 25));
    events.push(flows[0].put(1, [30, 33, 39], EEXIST));
    events.extend(flows[0].execute(1, [30, 40, 44], 0));
    events.push(flows[1].put(1, [30, 45, 52], 0));
    events.extend(flows[1].execute(1, [30, 53, 60], 0));
    events
}

/// Check the times of several requests that were sent together, and that an error of one is its own.
#[test]
fn requests_of_one_message() {
    let flows = [1, 2].map(Flow::new);
    let run = run(&batch(&flows));
    assert_eq!(
        run.sets,
        times([[10, 11, 20, 30, 30, 41], [14, 15, 25, 30, 30, 54]])
    );
    assert_eq!(
        run.kernel,
        [
            ([Some(9), Some(3), Some(6), Some(4)], [Some(17), None]),
            ([Some(10), Some(15), Some(7), Some(7)], [None, None]),
        ]
    );
    assert_eq!(run.failed, [(Kind::OpFlowPut, 17, 1)]);
    assert!(run.unmatched.is_empty(), "{:?}", run.unmatched);
}

/// Check that an upcall whose flow was there has an execute without a put, and waits until that begins.
#[test]
fn without_put() {
    let flows = [1, 2].map(Flow::new);
    let events: Vec<_> = batch(&flows)
        .into_iter()
        .filter(|event| event.kind != Kind::OpFlowPut)
        .collect();
    let run = run(&events);
    assert_eq!(
        run.sets,
        times([[10, 11, 20, 0, 30, 41], [14, 15, 25, 0, 30, 54]])
    );
    assert_eq!(run.kernel[0].0, [Some(9), Some(10), None, Some(4)]);
    assert!(run.unmatched.is_empty(), "{:?}", run.unmatched);
}

/// Check that a lost event changes nothing but its own place, whichever it is.
#[test]
fn lost_events() {
    let flows = [1, 2].map(Flow::new);
    let whole = batch(&flows);
    for lost in 0..whole.len() {
        let mut events = whole.clone();
        let event = events.remove(lost);
        let second = event.time == 14 || event.time == 15 || event.time == 25 || lost > 8;
        let mut expected = [[10, 11, 20, 30, 30, 41], [14, 15, 25, 30, 30, 54]];
        let set = &mut expected[usize::from(second)];
        let mut counts = unmatched([]);
        match event.kind {
            Kind::DpUpcall => {
                (set[0], set[1]) = (0, 0);
                counts = unmatched([
                    (Kind::DpQueued, Reason::NoSuchUpcall, 1),
                    (Kind::RecvUpcall, Reason::NoUpcall, 1),
                ]);
            }
            // It is found by its bytes.
            Kind::DpQueued => set[1] = 0,
            Kind::RecvUpcall => {
                *set = [0; 6];
                counts = unmatched([
                    (Kind::DpUpcall, Reason::InFlight, 1),
                    (Kind::OpFlowPut, Reason::OtherFlow, 1),
                    (Kind::OpFlowExecute, Reason::OtherPacket, 1),
                ]);
            }
            Kind::OpFlowPut => set[3] = 0,
            Kind::OpFlowExecute => {
                (set[4], set[5]) = (0, 0);
                counts = unmatched([(Kind::OvsPktExec, Reason::NoExecute, 1)]);
            }
            Kind::OvsPktExec => {
                set[5] = 0;
                counts = unmatched([(Kind::OpFlowExecute, Reason::NotExecuted, 1)]);
            }
            Kind::DpFailed => unreachable!(),
        }
        let expected: Vec<Times> = times(expected)
            .into_iter()
            .filter(|set| set[2].is_some())
            .collect();
        let run = run(&events);
        assert_eq!(run.sets, expected, "without {event:?}");
        assert_eq!(run.unmatched, counts, "without {event:?}");
    }
}

/// Check that what the message had in pages is completed from the request to execute the packet.
#[test]
fn completed_packet() {
    let flow = Flow::of(packet(false, 1, 200));
    let mut events = Vec::new();
    for event in flow.queued(0, 7, 1, 10) {
        let packet = captured(&event.packet.bytes[..event.packet.bytes.len().min(60)], 200);
        events.push(Event { packet, ..event });
    }
    events.push(Event {
        packet: captured(&flow.packet[..60], 200),
        ..flow.receive(1, 1, 20)
    });
    events.extend(flow.execute(1, [30, 31, 40], 0));
    let mut matcher = Matcher::default();
    let mut packets = Vec::new();
    let mut found = |found: Found<'_>| {
        if let Found::Set(set) = found {
            packets.push(set.packet.bytes.to_vec());
        }
    };
    for event in &events {
        matcher.event(event, &mut found);
    }
    matcher.finish(&mut found);
    assert_eq!(packets, [flow.packet]);
}

/// Check that where the queue events of some of several equal frames are lost, those that are known by their messages
/// keep their own, and the others take the rest.
#[test]
fn identical_frames_and_losses() {
    let flow = Flow::new(1);
    let mut events = Vec::new();
    for n in 0..4 {
        let [upcall, queued] = flow.queued(0, 7, n, 10 * n + 10);
        events.push(upcall);
        if n % 2 == 1 {
            events.push(queued);
        }
    }
    for (message, time) in [(3, 50), (0, 51), (1, 52), (2, 53)] {
        events.push(flow.receive(1, message, time));
    }
    let run = run(&events);
    assert_eq!(
        run.sets,
        times([
            [40, 41, 50, 0, 0, 0],
            [10, 0, 51, 0, 0, 0],
            [20, 21, 52, 0, 0, 0],
            [30, 0, 53, 0, 0, 0],
        ])
    );
    assert!(run.unmatched.is_empty(), "{:?}", run.unmatched);
}

/// Check that a receive whose upcall was lost does not take an equal one that comes later.
#[test]
fn no_early_receive() {
    let flow = Flow::new(1);
    let mut events = vec![flow.receive(1, 1, 10)];
    // The clocks of two CPUs may differ by as much.
    events.extend(flow.queued(0, 7, 2, 9));
    events.push(flow.receive(1, 2, 20));
    let run = run(&events);
    assert_eq!(run.sets, times([[0, 0, 10, 0, 0, 0], [9, 10, 20, 0, 0, 0]]));
}
