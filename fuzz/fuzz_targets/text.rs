//! What users type as times, and what other processes chose as names: a terminal gets no control character, and JSON
//! the text itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_tracers::cli::duration;
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::json::Text;
use ovs_tracers_fuzz::json;

fuzz_target!(|data: &[u8]| {
    let shown = Escaped(data).to_string();
    assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
    assert!(shown.len() >= data.len());
    assert!(format!("{:<8}|", Escaped(data)).starts_with(&shown));
    // What is shown stays as it is.
    assert_eq!(Escaped::text(&shown).to_string(), shown);

    let text = String::from_utf8_lossy(data);
    let value = json(|line| line.field("name", Text(data)));
    assert_eq!(value["name"].as_str(), Some(&*text));

    if let Ok(time) = duration::parse(&text) {
        assert!(!time.is_zero() && time.as_secs() <= 10 * 365 * 24 * 60 * 60);
    }
});
