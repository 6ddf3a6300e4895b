//! Values with gaps, filled in for every request.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::Fail;

/// Values that are handed out once each.
#[derive(Default)]
pub struct Stock {
    items: Vec<String>,
    next: AtomicUsize,
}

impl Stock {
    pub fn new(items: Vec<String>) -> Self {
        Self { items, next: AtomicUsize::new(0) }
    }

    fn take(&self) -> Result<&str, Fail> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.items.get(at).map(String::as_str).ok_or(Fail::UsedUp)
    }
}

pub type Stocks = HashMap<String, Stock>;

enum Piece {
    Text(String),
    Variable(String),
    Next(String),
}

/// A value as a question writes it.
pub struct Template(Vec<Piece>);

impl Template {
    /// `known`: variables that do not change; the secret of a client ID is `secret:ID`.
    pub fn new(text: &str, known: &BTreeMap<String, String>) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, (name, after))) = rest.split_once("{{").and_then(|(before, behind)| Some((before, behind.split_once("}}")?))) {
            plain.push_str(before);
            rest = after;
            if let Some(id) = name.strip_prefix("basic:") {
                let secret = known.get(&format!("secret:{id}")).map_or("", String::as_str);
                plain.push_str("Basic ");
                plain.push_str(&STANDARD.encode(format!("{id}:{secret}")));
            } else if let Some(value) = known.get(name) {
                plain.push_str(value);
            } else {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(match name.strip_prefix("next:") {
                    Some(stock) => Piece::Next(stock.to_owned()),
                    None => Piece::Variable(name.to_owned()),
                });
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Self(pieces)
    }

    pub fn is_fixed(&self) -> bool {
        matches!(self.0.as_slice(), [Piece::Text(_)])
    }

    /// # Errors
    /// [`Fail::UsedUp`], or a variable that nothing was saved to.
    pub fn fill(&self, variables: &HashMap<String, String>, stocks: &Stocks, out: &mut String) -> Result<(), Fail> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Variable(name) => out.push_str(variables.get(name).ok_or_else(|| Fail::Other(format!("{name} is not set")))?),
                Piece::Next(name) => out.push_str(stocks.get(name).ok_or_else(|| Fail::Other(format!("there is no pool {name}")))?.take()?),
            }
        }
        Ok(())
    }
}

/// `application/x-www-form-urlencoded`, and good for a query too.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            other => out.extend([b'%', HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]]),
        }
    }
}

pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8;
        out.push(match byte {
            b'%' => digit(bytes.next()) << 4 | digit(bytes.next()),
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled() {
        let known = BTreeMap::from([("aud".to_owned(), "urn:a".to_owned()), ("secret:app".to_owned(), "s".to_owned())]);
        let stocks = Stocks::from([("one".to_owned(), Stock::new(vec!["x".to_owned()]))]);
        let variables = HashMap::from([("code".to_owned(), "c".to_owned())]);
        let fill = |text: &str| {
            let mut out = String::new();
            Template::new(text, &known).fill(&variables, &stocks, &mut out).map(|()| out)
        };
        assert_eq!(fill("{{basic:app}} {{aud}}").unwrap(), "Basic YXBwOnM= urn:a");
        assert_eq!(fill("a{{code}}b{{next:one}}").unwrap(), "acbx");
        assert!(matches!(fill("{{next:one}}"), Err(Fail::UsedUp)));
        assert!(fill("{{unknown}}").is_err());
        assert!(Template::new("{{aud}}", &known).is_fixed());
    }

    #[test]
    fn what_is_escaped_is_read_again() {
        let mut out = Vec::new();
        escape("a b/å?", &mut out);
        assert_eq!(unescape(str::from_utf8(&out).unwrap()), "a b/å?");
    }
}
