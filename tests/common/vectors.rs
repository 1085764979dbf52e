//! Files of test vectors: sections `[name]` of lines `field: text`; a field may have several lines.

/// One section of a file.
pub struct Vector {
    pub name: String,
    fields: Vec<(String, String)>,
}

impl Vector {
    /// The lines of a field.
    pub fn lines<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.fields.iter().filter(move |(name, _)| name == field);
        lines.map(|(_, text)| text.as_str())
    }

    /// A field of one line.
    pub fn text(&self, field: &str) -> Option<&str> {
        let line = self.fields.iter().find(|(name, _)| name == field);
        line.map(|(_, text)| text.as_str())
    }

    /// A field of hexadecimal digits.
    pub fn bytes(&self, field: &str) -> Vec<u8> {
        let digits: String = self.lines(field).collect();
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            let pair = str::from_utf8(pair).expect("hexadecimal digits are ASCII");
            u8::from_str_radix(pair, 16).expect("two hexadecimal digits")
        });
        pairs.collect()
    }
}

/// Reads a file, whose fields must be among `known`.
pub fn vectors(file: &str, known: &[&str]) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in file.lines() {
        if let Some(name) = line.strip_prefix('[') {
            vectors.push(Vector {
                name: name.trim_end_matches(']').to_owned(),
                fields: Vec::new(),
            });
        } else if let Some((field, text)) = line.split_once(':')
            && !field.starts_with('#')
        {
            assert!(known.contains(&field), "unknown field: {line}");
            let vector = vectors.last_mut().expect("a field before the first name");
            let text = text.strip_prefix(' ').unwrap_or(text);
            vector.fields.push((field.to_owned(), text.to_owned()));
        }
    }
    vectors
}

/// One netlink attribute with its padding, in host byte order.
pub fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 4).expect("the payload fits");
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The port names of the vectors.
pub fn port_name(number: u32) -> Option<&'static str> {
    match number {
        1 => Some("eth0"),
        2 => Some("br0"),
        9 => Some("vxlan_sys_4789"),
        _ => None,
    }
}
