//! JSON as FHIR writes it, read strictly: numbers and the order of members stay as they came, and what JSON leaves to chance (a member
//! twice, deep nesting) is refused. fhir-server.md §5, <https://hl7.org/fhir/R4/json.html>

use serde_json::{Map, Number, Value};

/// How deep objects and arrays may nest.
const MAX_DEPTH: usize = 64;

/// Why a text is not read, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why} (byte {at})")]
pub struct JsonError {
    pub why: &'static str,
    pub at: usize,
}

/// Reads one document.
///
/// # Errors
/// [`JsonError`] for anything but one JSON value in UTF-8 as FHIR allows it: no member twice, no empty object or array, `null` only inside
/// arrays, no more than 64 levels.
pub fn read(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|why| JsonError { why: "the text is not UTF-8", at: why.valid_up_to() })?;
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.blank();
    let value = reader.value()?;
    reader.blank();
    if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("something stands behind the JSON value")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self, why: &'static str) -> JsonError {
        JsonError { why, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `wanted` and the blank behind it.
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
            self.blank();
        }
        found
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a JSON value is expected")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.wrong("the JSON is nested too deeply"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.wrong("a JSON value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// RFC 8259 §6. Kept as written: `5.0` says more than `5`.
    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        match text.parse::<Number>() {
            // Parsing writes an exponent its own way.
            Ok(_) => Ok(Value::Number(Number::from_string_unchecked(text.to_owned()))),
            Err(_) => Err(JsonError { why: "the number is malformed", at: start }),
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        for (place, byte) in self.text.bytes().enumerate().skip(start + 1) {
            match byte {
                b'"' => {
                    self.at = place + 1;
                    return self.text.get(start + 1..place).map(str::to_owned).ok_or(JsonError { why: "the string is malformed", at: start });
                }
                b'\\' => return self.escaped_string(start),
                0..=0x1f => return Err(JsonError { why: "a control character stands in a string", at: place }),
                _ => {}
            }
        }
        Err(JsonError { why: "a string does not end", at: start })
    }

    fn escaped_string(&mut self, start: usize) -> Result<String, JsonError> {
        let mut skip = false;
        for (place, byte) in self.text.bytes().enumerate().skip(start + 1) {
            match byte {
                _ if skip => skip = false,
                b'\\' => skip = true,
                b'"' => {
                    self.at = place + 1;
                    let text = self.text.get(start..=place).unwrap_or_default();
                    return serde_json::from_str(text).map_err(|_| JsonError { why: "the string is malformed", at: start });
                }
                _ => {}
            }
        }
        Err(JsonError { why: "a string does not end", at: start })
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'{');
        let mut fields = Map::new();
        while self.peek() == Some(b'"') {
            let at = self.at;
            let name = self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err(self.wrong("`:` is expected"));
            }
            let value = self.value()?;
            if value.is_null() {
                return Err(JsonError { why: "null stands for a member's value", at });
            }
            if fields.insert(name, value).is_some() {
                return Err(JsonError { why: "a member stands twice in one object", at });
            }
            self.blank();
            if !self.take(b',') {
                break;
            }
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a member is expected"));
            }
        }
        if self.peek() != Some(b'}') {
            return Err(self.wrong("`}` is expected"));
        }
        self.at += 1;
        if fields.is_empty() { Err(JsonError { why: "an object is empty", at: start }) } else { Ok(Value::Object(fields)) }
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'[');
        let mut items = Vec::new();
        if self.peek() != Some(b']') {
            loop {
                items.push(self.value()?);
                self.blank();
                if !self.take(b',') {
                    break;
                }
            }
        }
        if self.peek() != Some(b']') {
            return Err(self.wrong("`]` is expected"));
        }
        self.at += 1;
        if items.is_empty() { Err(JsonError { why: "an array is empty", at: start }) } else { Ok(Value::Array(items)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_read_is_kept_as_written() {
        for text in [
            r#"{"a":5.0,"b":[1e3,-0.10,"x",null],"c":{"d":"æøå čđŋ \" \\ \u00e6"},"e":true}"#,
            r#"{"z":1,"a":2,"big":123456789012345678901234567890.10}"#,
            r#"" \n ""#,
        ] {
            let read = read(text.as_bytes()).unwrap();
            assert_eq!(read.to_string(), text.replace("\\u00e6", "æ"));
        }
        assert_eq!(read(b" { \"a\" : [ 1 , 2 ] } \n").unwrap().to_string(), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn what_fhir_forbids_is_refused() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(read(deep(64).as_bytes()).is_ok());
        assert_eq!(read(deep(65).as_bytes()).unwrap_err().why, "the JSON is nested too deeply");
        for (text, why) in [
            (&br#"{"a":1,"a":2}"#[..], "a member stands twice in one object"),
            (br#"{"a":{"b":1,"b":1}}"#, "a member stands twice in one object"),
            (br#"{"a":null}"#, "null stands for a member's value"),
            (br#"{"a":{}}"#, "an object is empty"),
            (br#"{"a":[]}"#, "an array is empty"),
            (br#"{"a":1,}"#, "a member is expected"),
            (br#"{"a" 1}"#, "`:` is expected"),
            (br#"{"a":1"#, "`}` is expected"),
            (br"[1", "`]` is expected"),
            (br"[1,]", "a JSON value is expected"),
            (br"{} {}", "an object is empty"),
            (br"1 2", "something stands behind the JSON value"),
            (br"01", "the number is malformed"),
            (br"1.", "the number is malformed"),
            (br"tru", "a JSON value is expected"),
            (b"\"a\nb\"", "a control character stands in a string"),
            (b"\"\\n\nb\"", "the string is malformed"),
            (br#""\ud800""#, "the string is malformed"),
            (br#""abc"#, "a string does not end"),
            (b"{\"a\":\"\xff\"}", "the text is not UTF-8"),
            (b"\xef\xbb\xbf{\"a\":1}", "a JSON value is expected"),
            (b"", "a JSON value is expected"),
        ] {
            assert_eq!(read(text).unwrap_err().why, why, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_agrees_with_serde(text in r#"[\[\]{}:,"a0\\.e \-tn]{0,24}|\PC{0,24}"#) {
            if let Ok(value) = read(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&value.to_string()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
