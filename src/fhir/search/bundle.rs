//! The searchset Bundle. Resources go in as they are served, byte for byte. <https://hl7.org/fhir/R4/bundle.html#searchset>

use bytes::Bytes;
use serde_json::json;

use crate::protocol::ids::FhirBase;

/// One page of a search, ready to be written.
#[derive(Debug, Default)]
pub struct Searchset {
    pub total: Option<usize>,
    /// Relation and absolute URL.
    pub links: Vec<(&'static str, String)>,
    /// Type, id and the JSON of each match.
    pub matches: Vec<(&'static str, String, Bytes)>,
    /// The same of what comes with them: not counted.
    pub included: Vec<(&'static str, String, Bytes)>,
    /// Parameters that were ignored: each is told in an `outcome` entry, and only then is there one (NAV-069).
    pub ignored: Vec<String>,
}

impl Searchset {
    pub fn write(&self, base: &FhirBase) -> Vec<u8> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let size: usize = self.matches.iter().chain(&self.included).map(|(_, _, json)| json.len() + 160).sum();
        let mut out = Vec::with_capacity(size + 512);
        out.put(r#"{"resourceType":"Bundle","type":"searchset""#);
        if let Some(total) = self.total {
            out.put(&format!(r#","total":{total}"#));
        }
        for (place, (relation, url)) in self.links.iter().enumerate() {
            out.put(if place == 0 { r#","link":["# } else { "," });
            out.put(&format!(r#"{{"relation":"{relation}","url":{}}}"#, quoted(url)));
        }
        if !self.links.is_empty() {
            out.put("]");
        }
        let mut opening = r#","entry":["#;
        let matches = self.matches.iter().map(|entry| (entry, "match"));
        for ((kind, id, resource), mode) in matches.chain(self.included.iter().map(|entry| (entry, "include"))) {
            out.put(opening);
            out.put(&format!(r#"{{"fullUrl":{},"resource":"#, quoted(&format!("{base}/{kind}/{id}"))));
            out.extend_from_slice(resource);
            out.put(&format!(r#","search":{{"mode":"{mode}"}}}}"#));
            opening = ",";
        }
        if !self.ignored.is_empty() {
            out.put(opening);
            out.put(&json!({"resource": self.ignored_outcome(), "search": {"mode": "outcome"}}).to_string());
            opening = ",";
        }
        // No match: no `entry` at all. fhir-server.md §6, rule 5.
        out.put(if opening == "," { "]}" } else { "}" });
        out
    }

    fn ignored_outcome(&self) -> serde_json::Value {
        let issues: Vec<_> = self
            .ignored
            .iter()
            .map(|name| {
                json!({"severity": "warning", "code": "not-supported", "details": {"text": "a search parameter was ignored"},
                    "diagnostics": format!("{name} is not supported and was ignored")})
            })
            .collect();
        json!({"resourceType": "OperationOutcome", "issue": issues})
    }
}

/// Appending text to bytes.
trait Put {
    fn put(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_readable_bundle() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let one = || ("Patient", "p1".to_owned(), Bytes::from_static(br#"{"resourceType":"Patient","id":"p1","x":5.0}"#));
        for (matches, ignored) in
            [(vec![], vec![]), (vec![one()], vec![]), (vec![one(), one()], vec!["colour".to_owned()]), (vec![], vec!["colour".to_owned()])]
        {
            let links = vec![("self", "https://epj.example/fhir/Patient?name=\"x".to_owned())];
            let page = Searchset { total: Some(matches.len()), links, included: matches.clone(), matches, ignored };
            let read: serde_json::Value = serde_json::from_slice(&page.write(&base)).unwrap();
            let entries = page.matches.len() + page.included.len() + usize::from(!page.ignored.is_empty());
            assert_eq!(read.get("entry").map_or(0, |e| e.as_array().unwrap().len()), entries);
            assert_eq!(read.get("entry").is_some(), entries > 0);
            assert_eq!(read["link"][0]["url"], page.links[0].1);
            if let Some(entry) = page.matches.first().map(|_| &read["entry"][0]) {
                assert_eq!(entry["fullUrl"], "https://epj.example/fhir/Patient/p1");
                assert_eq!(entry["resource"]["x"].to_string(), "5.0");
                let modes: Vec<_> = read["entry"].as_array().unwrap().iter().map(|entry| entry["search"]["mode"].as_str().unwrap()).collect();
                assert_eq!(modes.iter().filter(|mode| **mode == "include").count(), page.included.len());
            }
        }
    }
}
