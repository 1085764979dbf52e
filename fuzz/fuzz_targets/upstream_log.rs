//! What upcall_cost.py writes, and what upcall-cost makes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::cost::analysis::Analysis;
use ovs_tracers::cost::histogram::Scale;
use ovs_tracers::cost::report::{self, Options};
use ovs_tracers::cost::upstream::{Item, Reader};
use ovs_tracers::cost::{self, svg};
use ovs_tracers_fuzz::text;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new(data) else {
        return;
    };
    let mut analysis = Analysis::new(&[], 5, true);
    let mut items = 0;
    while let Ok(Some(item)) = reader.next_item() {
        items += 1;
        match item {
            Item::Event(event) => {
                assert!(event.packet.bytes.len() <= data.len());
                let line = text(|out| cost::line(out, &event));
                assert!(line.ends_with('\n'));
                analysis.event(&event);
            }
            Item::Missed(missed) => analysis.counts.add_lost(&missed),
        }
    }
    assert!(items <= data.len() / b"event = {}\n".len());
    analysis.finish();
    let options = Options {
        scale: Scale::Linear(16),
        sets: true,
    };
    report::write(&mut Vec::new(), &analysis, &options).expect("a Vec takes everything");
    svg::write(&mut Vec::new(), &analysis, "a log").expect("a Vec takes everything");
});
