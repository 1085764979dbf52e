//! The text of actions against Open vSwitch's own, and actions cut and damaged in every place.

use ovs_tracers::ovs::actions;
use ovs_tracers::ovs::flow_key::{attributes, no_names};
use proptest::prelude::*;

use common::{Vector, attribute, port_name};

#[path = "common/vectors.rs"]
mod common;

const CUT: &str = include_str!("../fixtures/actions/cut.txt");
const NEWER: &str = include_str!("../fixtures/actions/newer.txt");
const WHOLE: &str = include_str!("../fixtures/actions/whole.txt");

fn vectors(file: &str) -> Vec<Vector> {
    common::vectors(file, &["made", "hex", "odp", "names"])
}

/// The text of a run of actions. Offsets count from the header of the attribute that has it.
fn odp(run: &[u8], names: bool) -> String {
    let bytes = attribute(2, run);
    let actions = attributes(&bytes).next().expect("the actions");
    let mut text = String::new();
    let name = |port| port_name(port).filter(|_| names);
    actions::odp(&actions, name, &mut text).expect("a String takes everything");
    text
}

#[track_caller]
fn check_vectors(file: &str, count: usize, with_names: bool) {
    let vectors = vectors(file);
    assert_eq!(vectors.len(), count, "a vector is lost or not counted");
    let mut wrong = String::new();
    for vector in vectors {
        let run = vector.bytes("hex");
        let plain = vector.text("odp").expect("a text");
        let names = vector.text("names").unwrap_or(plain);
        let mut texts = vec![(plain, odp(&run, false))];
        if with_names {
            texts.push((names, odp(&run, true)));
        }
        for (expected, text) in texts {
            if text != expected {
                wrong += &format!("{}\n  {text}\n  {expected}\n", vector.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Check that actions get the text that Open vSwitch gives them, without and with names of ports.
#[test]
fn actions_read_as_open_vswitch_prints_them() {
    check_vectors(WHOLE, 161, true);
}

/// Check that the actions of later kernels get the text that later releases give them.
#[test]
fn newer_actions_read_as_documented() {
    check_vectors(NEWER, 10, false);
}

/// Check that cut or damaged actions are shown as far as they go, and then where and why they stop.
#[test]
fn cut_actions_say_where_they_stop() {
    check_vectors(CUT, 23, false);
}

/// Check that actions cut off between two bytes, of which the attribute says how many there were, are marked so
/// wherever it is, and show the actions before the cut as they were.
#[test]
fn a_cut_is_marked_wherever_it_is() {
    for vector in vectors(WHOLE) {
        let whole = attribute(2, &vector.bytes("hex"));
        for end in 4..whole.len() {
            let cut = attributes(&whole[..end])
                .next()
                .expect("the header is there");
            let mut text = String::new();
            actions::odp(&cut, no_names, &mut text).expect("a String takes everything");
            let marker = format!(
                "<cut at byte 0: {} of {} bytes>",
                end - 4,
                cut.payload_len()
            );
            assert!(
                text.ends_with(&marker),
                "{} cut at {end}: {text}",
                vector.name
            );
            let before = cut.nested().filter(|action| action.is_complete()).last();
            let before = before.map_or(0, |action| action.at - 4 + usize::from(action.len));
            if before > 0 {
                let start = odp(&whole[4..4 + before], false);
                assert!(
                    text.starts_with(&start),
                    "{} cut at {end}: {text}",
                    vector.name
                );
            }
        }
    }
}

/// Check that actions in actions are shown seventeen levels deep, one more than the kernel takes, and do not exhaust
/// the stack.
#[test]
fn nesting_is_bounded() {
    let lengths = (1..=u16::MAX / 4 - 1).rev().map(|words| words * 4);
    let run: Vec<u8> = lengths
        .flat_map(|len| {
            [
                len.to_ne_bytes(),
                actions::OVS_ACTION_ATTR_CLONE.to_ne_bytes(),
            ]
            .concat()
        })
        .collect();
    let text = odp(&run, false);
    assert_eq!(text.matches("clone(").count(), 17);
    assert!(
        text.contains("clone(<nested too deep: b4 ff 14 00"),
        "{}",
        &text[..200]
    );
}

/// Check that the numbers which releases use in different ways have the kernel's names.
#[test]
fn types_have_the_names_of_the_kernel() {
    assert_eq!(actions::name(0), Some("OVS_ACTION_ATTR_UNSPEC"));
    assert_eq!(actions::name(23), Some("OVS_ACTION_ATTR_DEC_TTL"));
    assert_eq!(actions::name(25), Some("OVS_ACTION_ATTR_PSAMPLE"));
    assert_eq!(actions::name(26), None);
}

/// Check that an error of the writer ends the text, wherever it comes, and is passed on.
#[test]
fn errors_of_the_writer_are_passed_on() {
    struct Room(usize);
    impl std::fmt::Write for Room {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    for vector in [WHOLE, NEWER, CUT].into_iter().flat_map(vectors) {
        let bytes = attribute(2, &vector.bytes("hex"));
        let run = attributes(&bytes).next().expect("the actions");
        let len = vector.text("odp").expect("a text").len();
        for room in 0..len {
            let result = actions::odp(&run, no_names, &mut Room(room));
            assert!(result.is_err(), "{} in {room} bytes", vector.name);
        }
        assert!(actions::odp(&run, no_names, &mut Room(len)).is_ok());
    }
}

/// Prints actions. Whatever their bytes are, this may not panic.
fn check_any_actions(run: &[u8]) {
    let text = odp(run, true);
    assert!(!text.is_empty() && text.is_ascii());
    assert_eq!(
        text.matches('(').count(),
        text.matches(')').count(),
        "{text}"
    );
}

/// Check that no flipped byte of a vector makes the printer panic or lose its brackets.
#[test]
fn flipped_bytes_do_no_harm() {
    for vector in [WHOLE, NEWER, CUT].into_iter().flat_map(vectors) {
        // Its text may have brackets of its own.
        if vector.name.contains("helper") {
            continue;
        }
        let mut run = vector.bytes("hex");
        for index in 0..run.len() {
            let byte = run[index];
            for flip in [0x01, 0x02, 0x04, 0x10, 0x20, 0x40, 0x80, 0xff] {
                run[index] = byte ^ flip;
                check_any_actions(&run);
            }
            run[index] = byte;
        }
    }
}

proptest! {
    /// Check that arbitrary bytes do no harm.
    #[test]
    fn arbitrary_bytes_do_no_harm(run in prop::collection::vec(any::<u8>(), 0..300)) {
        odp(&run, true);
    }

    /// Check the same for runs of well-formed attributes of every type with arbitrary payloads, alone and inside each
    /// action that has others, cut anywhere.
    #[test]
    fn arbitrary_attributes_do_no_harm(
        run in prop::collection::vec((0u16..30, prop::collection::vec(any::<u8>(), 0..52)), 0..8),
        outer in prop::collection::vec(prop::sample::select(&[1u16, 2, 3, 6, 11, 12, 17, 20, 21, 23, 25, 28][..]), 0..4),
        cut in 0usize..400,
    ) {
        let mut bytes: Vec<u8> = run.iter().flat_map(|(kind, data)| attribute(*kind, data)).collect();
        for kind in outer {
            bytes = attribute(kind, &bytes);
        }
        bytes.truncate(cut);
        odp(&bytes, true);
    }
}
