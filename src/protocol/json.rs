//! JSON objects as RFC 7515 §4 and RFC 7519 §4 want them, and as is wise wherever two readers may see one text: no member twice. RFC 8259 §4.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one JSON object and nothing else; a repeated top-level member is an error, for two readers might each believe another one.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<Object>(bytes).ok().map(|object| object.0)
}

struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Object, A::Error> {
                // As many as most tokens have.
                let mut members = Map::with_capacity(16);
                while let Some((name, value)) = from.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_with_each_member_once() {
        assert!(object(br#"{"a":1,"b":{"a":[]}}"#).is_some());
        for refused in [&br#"{"a":1,"a":1}"#[..], br#"{"a":1,"\u0061":2}"#, b"[]", b"1", b"\"a\"", b"{} {}", b"", b"{\"a\":\xff}", b"{\"a\":1"] {
            assert!(object(refused).is_none(), "{}", String::from_utf8_lossy(refused));
        }
    }
}
