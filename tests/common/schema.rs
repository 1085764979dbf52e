//! Checks JSON Lines against a tool's schema, `docs/TOOL.schema.json`.
#![allow(dead_code)] // each test file uses its own part

use std::fmt;
use std::fs;

use jsonschema::Validator;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The schema of a tool.
pub struct Schema(Validator);

impl Schema {
    pub fn of(tool: &str) -> Self {
        let path = format!("{}/docs/{tool}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let schema = fs::read_to_string(path).expect("a schema");
        let schema = serde_json::from_str(&schema).expect("the schema is JSON");
        Self(jsonschema::draft202012::new(&schema).expect("it is a schema"))
    }

    /// The lines of what was written, each of which must be one of the schema.
    #[track_caller]
    pub fn lines(&self, text: &str) -> Vec<Value> {
        assert!(text.is_empty() || text.ends_with('\n'), "a line is cut");
        let line = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let unique = serde_json::from_str::<Unique>(line);
            assert!(unique.is_ok(), "{}: {line}", unique.err().unwrap());
            if let Err(error) = self.0.validate(&value) {
                panic!("{error}, at {}: {line}", error.instance_path());
            }
            value
        };
        text.lines().map(line).collect()
    }

    /// The lines of a stream, which begins with its start record.
    #[track_caller]
    pub fn stream(&self, text: &str) -> Vec<Value> {
        let lines = self.lines(text);
        let starts = lines.iter().map(|line| line["record"] == "start");
        assert!(
            starts.eq((0..lines.len()).map(|number| number == 0)),
            "not a stream that begins with its only start record: {text}"
        );
        lines
    }
}

/// JSON of which no object has a name twice, which serde_json takes for the last one's.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unique)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
            if let Some(name) = names.replace(name) {
                return Err(serde::de::Error::custom(format!("{name} is there twice")));
            }
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Unique, A::Error> {
        while array.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}
