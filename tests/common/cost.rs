//! Events of upcalls made by hand: as records of `bpf/upcall_cost.h`, as a recording, as a file of upcall_cost.py.
#![allow(dead_code)] // each test file uses its own part

use std::io::Write;

use ovs_tracers::cost::{Event, Kind, RECORDS};
use ovs_tracers::run::recording::{Start, Writer};

/// The bytes of `struct cost_record`.
pub fn record(event: &Event<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    let padded = |text: &[u8], size: usize| {
        let mut field = vec![0; size];
        field[..text.len()].copy_from_slice(text);
        field
    };
    record.extend_from_slice(&event.time.to_ne_bytes());
    // The last has the kind and, in its upper half, the target.
    for word in [event.pid, event.tid, event.cpu, event.kind as u32] {
        record.extend_from_slice(&word.to_ne_bytes());
    }
    record.extend(padded(event.comm, 16));
    record.extend_from_slice(&event.skb.to_ne_bytes());
    let checksum = event.checksum.clone().unwrap_or_default();
    for word in [
        event.upcall_type,
        event.result.cast_unsigned(),
        event.port.unwrap_or(0),
        event.portid,
        checksum.start as u32,
        checksum.len() as u32,
        event.packet.len,
        event.key.len,
        event.packet.bytes.len() as u32,
        event.key.bytes.len() as u32,
        // Where the packet begins.
        event.key.bytes.len() as u32,
    ] {
        record.extend_from_slice(&word.to_ne_bytes());
    }
    for error in [event.packet.error, event.key.error] {
        let errno = error.map_or(0, |error| -error as i16);
        record.extend_from_slice(&errno.to_ne_bytes());
    }
    record.extend(padded(event.datapath, 32));
    record.extend(padded(event.device, 16));
    for number in [
        event.message,
        event.begun.unwrap_or(0),
        event.ended.unwrap_or(0),
    ] {
        record.extend_from_slice(&number.to_ne_bytes());
    }
    for number in [event.dp_ifindex.unwrap_or(0), 0] {
        record.extend_from_slice(&number.to_ne_bytes());
    }
    record.extend_from_slice(event.key.bytes);
    record.extend_from_slice(event.packet.bytes);
    record
}

/// A netlink attribute.
pub fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(payload.len() as u16 + 4).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Ethernet, IPv4 and UDP or TCP, as much of it as `size` has.
pub fn packet(tcp: bool, flow: u32, size: usize) -> Vec<u8> {
    let mut packet = vec![0; size.max(54)];
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    packet[14] = 0x45;
    packet[16..18].copy_from_slice(&(size as u16 - 14).to_be_bytes());
    packet[22] = 64;
    packet[23] = if tcp { 6 } else { 17 };
    packet[26..30].copy_from_slice(&[10, 0, (flow >> 24) as u8, 1]);
    packet[30..34].copy_from_slice(&[10, 1, (flow >> 16) as u8, 1]);
    packet[34..36].copy_from_slice(&(flow as u16).to_be_bytes());
    packet[36..38].copy_from_slice(&53u16.to_be_bytes());
    if tcp {
        packet[46] = 5 << 4;
    }
    for (i, byte) in packet.iter_mut().enumerate().skip(54) {
        *byte = i as u8;
    }
    packet.truncate(size);
    packet
}

/// The flow key of such a packet: in_port, eth, eth_type, ipv4 and udp.
pub fn key(port: u32, packet: &[u8]) -> Vec<u8> {
    let mut key = attribute(3, &port.to_ne_bytes());
    let eth = [&packet[6..12], &packet[..6]].concat();
    key.extend(attribute(4, &eth));
    key.extend(attribute(6, &packet[12..14]));
    let ipv4 = [&packet[26..34], &[packet[23], 0, packet[22], 0]].concat();
    key.extend(attribute(7, &ipv4));
    key.extend(attribute(10, &packet[34..38]));
    key
}

/// The request to install a flow with that key: UFID, key, mask and actions.
pub fn request(key: &[u8]) -> Vec<u8> {
    let mut request = attribute(9, &[0x5a; 16]);
    request.extend(attribute(1, key));
    request.extend(attribute(7, key));
    request.extend(attribute(2, &[0; 8]));
    request
}

/// A small generator of numbers (xorshift64*), always the same.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// Writes a recording of at least `events` events: four handlers at once, with batches of 1 to 8 upcalls of new flows,
/// of which `received_percent` are received; returns how many events and how many upcalls that were received there are.
pub fn synthetic(out: impl Write, events: u64, received_percent: u64) -> (u64, u64) {
    const SNAPLEN: usize = 256;
    let mut start = Start::new(&RECORDS);
    start.set("kernel", "6.12.0");
    start.set("pid", 100);
    start.set("packet_size", SNAPLEN);
    start.set("flow_key_size", 2048);
    let mut writer = Writer::new(out, &start).unwrap();
    writer.clock(1_700_000_000_000_000_000).unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut written, mut upcalls, mut flow) = (0, 0, 0u32);
    let mut now = 1_000_000_000_000;
    let mut round: Vec<(u64, Vec<u8>)> = Vec::new();
    while written < events {
        round.clear();
        for handler in 0..4u32 {
            let comm = format!("handler{}", handler + 1);
            let size = 1 + numbers.below(8);
            let mut time = now + numbers.below(20_000);
            let mut packets = Vec::new();
            for _ in 0..size {
                flow += 1;
                let tcp = flow.is_multiple_of(2);
                let whole = [60, 98, 590, 1514][numbers.below(4) as usize];
                packets.push((packet(tcp, flow, whole), 1 + flow % 7));
                let (packet, port) = &packets[packets.len() - 1];
                let mut bytes = packet[..whole.min(SNAPLEN)].to_vec();
                let checksum = tcp.then_some(50..52);
                if tcp {
                    bytes[50..52].copy_from_slice(&[0xde, 0xad]);
                }
                let device = format!("veth{port}");
                let event = Event {
                    cpu: handler,
                    comm: b"swapper",
                    datapath: b"system@ovs-system",
                    device: device.as_bytes(),
                    port: Some(*port),
                    portid: 4000 + handler,
                    skb: 0xffff_8880_0000_0000 + u64::from(flow) * 256,
                    packet: captured(&bytes, whole),
                    checksum,
                    ..Event::new(Kind::DpUpcall, time)
                };
                round.push((time, record(&event)));
                time += 500 + numbers.below(3_000);
            }
            time += 5_000 + numbers.below(40_000);
            packets.retain(|_| numbers.below(100) < received_percent);
            upcalls += packets.len() as u64;
            let of_thread = |kind, time| Event {
                cpu: handler,
                pid: 100,
                tid: 101 + handler,
                comm: comm.as_bytes(),
                ..Event::new(kind, time)
            };
            let keys: Vec<_> = packets
                .iter()
                .map(|(packet, port)| key(*port, packet))
                .collect();
            for ((packet, port), key) in packets.iter().zip(&keys) {
                let event = Event {
                    datapath: b"system@ovs-system",
                    port: Some(*port),
                    packet: captured(&packet[..packet.len().min(SNAPLEN)], packet.len()),
                    key: captured(key, key.len()),
                    ..of_thread(Kind::RecvUpcall, time)
                };
                round.push((time, record(&event)));
                time += 8_000 + numbers.below(30_000);
            }
            for ((packet, _), key) in packets.iter().zip(&keys) {
                let request = request(key);
                let event = Event {
                    key: captured(&request, request.len()),
                    ..of_thread(Kind::OpFlowPut, time)
                };
                round.push((time, record(&event)));
                time += 300 + numbers.below(500);
                let event = Event {
                    packet: captured(&packet[..packet.len().min(SNAPLEN)], packet.len()),
                    ..of_thread(Kind::OpFlowExecute, time)
                };
                round.push((time, record(&event)));
                time += 300 + numbers.below(500);
            }
            for (packet, _) in &packets {
                let event = Event {
                    packet: captured(b"", packet.len()),
                    ..of_thread(Kind::OvsPktExec, time)
                };
                round.push((time, record(&event)));
                time += 2_000 + numbers.below(6_000);
            }
        }
        round.sort_by_key(|(time, _)| *time);
        for (_, record) in &round {
            writer.record(record).unwrap();
        }
        written += round.len() as u64;
        now = round.last().map_or(now, |(time, _)| *time) + 10_000;
    }
    writer.finish().unwrap();
    (written, upcalls)
}

/// Writes a recording whose source was the kernel: `upcalls` upcalls in batches of 1 to 4, one handler after the other.
/// Every third packet is equal to the one before it, every fifth upcall has no put, every seventh put fails with EEXIST
/// and every eleventh execute with ENODEV, and of every thirteenth upcall the queue event is lost.
pub fn of_kernel(out: impl Write, upcalls: u32) {
    const EEXIST: i32 = 17;
    const ENODEV: i32 = 19;
    let mut start = Start::new(&RECORDS);
    start.set("kernel", "6.12.0");
    start.set("pid", 100);
    start.set("packet_size", 256);
    start.set("flow_key_size", 2048);
    start.set("source", "kernel");
    let mut writer = Writer::new(out, &start).unwrap();
    writer.clock(1_700_000_000_000_000_000).unwrap();
    writer.datapath(6, b"system@ovs-system").unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut number, mut time) = (0, 1_000_000_000_000);
    let address = |number: u32| 0xffff_8880_0000_0000 + u64::from(number) * 0x100;
    while number < upcalls {
        let size = (1 + numbers.below(4) as u32).min(upcalls - number);
        let handler = number % 2;
        let comm = format!("handler{}", handler + 1);
        let batch: Vec<u32> = (number..number + size).collect();
        number += size;
        // Equal packets have one number.
        let bytes = |n: u32| packet(false, if n % 3 == 2 { n - 1 } else { n }, 98);
        for n in &batch {
            let packet = bytes(*n);
            let in_kernel = Event {
                cpu: handler,
                comm: b"swapper",
                skb: address(1000 + n),
                portid: 4000 + handler,
                ..Event::new(Kind::DpUpcall, time)
            };
            let upcall = Event {
                datapath: b"system@ovs-system",
                device: b"veth1",
                port: Some(1),
                packet: captured(&packet, 98),
                ..in_kernel.clone()
            };
            writer.record(&record(&upcall)).unwrap();
            time += 400 + numbers.below(400);
            let queued = Event {
                kind: Kind::DpQueued,
                time,
                message: address(*n % 8),
                ..in_kernel
            };
            if n % 13 != 12 {
                writer.record(&record(&queued)).unwrap();
            }
            time += 500 + numbers.below(1_000);
        }
        time += 10_000 + numbers.below(20_000);
        let of_thread = |kind, time| Event {
            cpu: handler,
            pid: 100,
            tid: 101 + handler,
            comm: comm.as_bytes(),
            ..Event::new(kind, time)
        };
        for n in &batch {
            let packet = bytes(*n);
            let key = key(1, &packet);
            let receive = Event {
                message: address(*n % 8),
                dp_ifindex: Some(6),
                packet: captured(&packet, 98),
                key: captured(&key, key.len()),
                ..of_thread(Kind::RecvUpcall, time)
            };
            writer.record(&record(&receive)).unwrap();
            time += 8_000 + numbers.below(8_000);
        }
        let sent = time;
        time += 1_000;
        for n in &batch {
            let packet = bytes(*n);
            let request = request(&key(1, &packet));
            let mut handle = |event: Event<'_>, failed: Option<i32>| {
                let begun = time;
                if event.kind == Kind::OpFlowExecute {
                    let kernel = Event {
                        begun: Some(begun),
                        packet: captured(b"", 98),
                        ..of_thread(Kind::OvsPktExec, begun + 300)
                    };
                    writer.record(&record(&kernel)).unwrap();
                }
                time += 2_000 + numbers.below(3_000);
                let event = Event {
                    begun: Some(begun),
                    ended: Some(time),
                    result: failed.map_or(0, |errno| -errno),
                    ..event
                };
                writer.record(&record(&event)).unwrap();
                time += 200;
            };
            if n % 5 != 4 {
                let put = Event {
                    key: captured(&request, request.len()),
                    ..of_thread(Kind::OpFlowPut, sent)
                };
                handle(put, (n % 7 == 6).then_some(EEXIST));
            }
            let execute = Event {
                packet: captured(&packet, 98),
                ..of_thread(Kind::OpFlowExecute, sent)
            };
            handle(execute, (n % 11 == 10).then_some(ENODEV));
        }
        time += 20_000;
    }
    writer.finish().unwrap();
}

pub fn captured(bytes: &[u8], len: usize) -> ovs_tracers::trace::captured::Captured<'_> {
    ovs_tracers::trace::captured::Captured {
        len: len as u32,
        bytes,
        error: None,
    }
}
