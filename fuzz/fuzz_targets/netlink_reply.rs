//! Answers of the kernel's generic netlink: each message is read as it is alone, and what is read of it is in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::ovs::ports::fuzzing::{answer, message};

fuzz_target!(|data: &[u8]| {
    let sequence = data.get(8..12).map_or(0, |bytes| {
        u32::from_ne_bytes(bytes.try_into().expect("four"))
    });
    let (messages, _) = answer(sequence, data);
    assert!(messages.len() <= data.len() / 16);
    for (family, datapath, vport, _) in messages.into_iter().chain([message(data)]) {
        let family = family.map(|(_, name)| name);
        for name in [
            family,
            datapath.map(|(_, name)| name),
            vport.map(|(_, name)| name),
        ] {
            let Some(mut name) = name else { continue };
            name.push(0);
            assert!(data.windows(name.len()).any(|window| window == name));
        }
    }
});
