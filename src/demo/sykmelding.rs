//! The sick note a NAV-style app sends to the journal: one DocumentReference with a PDF inside. `nav.md` §4.8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::random::Random;
use crate::time::UnixTime;

/// Volven 9602, the types of documents, and the one of sick notes. NAV-086.
pub const DOCUMENT_TYPES: &str = "urn:oid:2.16.578.1.12.4.1.1.9602";
pub const SYKMELDING: &str = "J01-2";
/// How many days after its first a sick note of the demo ends.
const DAYS: i64 = 13;

/// Who is written about by whom. References are ids; `author` is `Practitioner/…`.
pub struct Sykmelding<'a> {
    pub id: &'a str,
    pub patient: &'a str,
    pub encounter: &'a str,
    pub author: &'a str,
    /// What stands in the PDF under the title.
    pub lines: Vec<String>,
    pub now: UnixTime,
}

impl Sykmelding<'_> {
    /// As it is sent: what NAV's app sends and nothing more.
    pub fn document(&self) -> Value {
        let moment = jiff::Timestamp::from_second(self.now.0).unwrap_or_default();
        // Norway's day; where there is no table of time zones, the day in UTC is near enough for a demonstration.
        let today = moment.to_zoned(TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC)).date();
        let until = today.saturating_add(jiff::Span::new().days(DAYS));
        let title = format!("Sykmelding {}–{}", day(today), day(until));
        let data = STANDARD.encode(pdf(&title, &self.lines));
        json!({
            "resourceType": "DocumentReference",
            "id": self.id,
            "meta": { "lastUpdated": moment.to_string() },
            "status": "current",
            "type": { "coding": [{ "system": DOCUMENT_TYPES, "code": SYKMELDING, "display": "Sykmeldinger og trygdesaker" }] },
            "subject": { "reference": format!("Patient/{}", self.patient) },
            "author": [{ "reference": self.author }],
            "description": title,
            "content": [{ "attachment": { "contentType": "application/pdf", "language": "NO-nb", "title": title, "data": data } }],
            "context": {
                "encounter": [{ "reference": format!("Encounter/{}", self.encounter) }],
                "period": { "start": today.to_string(), "end": until.to_string() }
            }
        })
    }
}

fn day(date: Date) -> String {
    date.strftime("%d.%m.%Y").to_string()
}

/// The id of a new document: a random UUID. RFC 9562 §5.4.
pub fn new_id(random: &dyn Random) -> String {
    let mut bytes = [0u8; 16];
    random.fill(&mut bytes);
    let number = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default()).join("-")
}

/// One page of A4: a title and lines under it. PDF 1.4 in its smallest form: objects, where each begins, and where to start (ISO 32000-1 §7.5).
fn pdf(title: &str, lines: &[String]) -> Vec<u8> {
    let mut text = b"BT /F1 20 Tf 60 770 Td (".to_vec();
    text.extend(literal(title));
    text.extend(b") Tj /F1 11 Tf 0 -34 Td 16 TL\n");
    for line in lines {
        text.push(b'(');
        text.extend(literal(line));
        text.extend(b") Tj T*\n");
    }
    text.extend(b"ET");
    let mut stream = format!("<< /Length {} >>\nstream\n", text.len()).into_bytes();
    stream.extend(text);
    stream.extend(b"\nendstream");
    let objects: [&[u8]; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 4 0 R >> >> /Contents 5 0 R >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        &stream,
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut places = "0000000000 65535 f \n".to_owned();
    for (at, object) in objects.iter().enumerate() {
        places.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.extend(format!("{} 0 obj\n", at + 1).into_bytes());
        file.extend_from_slice(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    file.extend(format!("xref\n0 6\n{places}trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").into_bytes());
    file
}

/// Between parentheses, in WinAnsiEncoding, whose letters of Western Europe are those of Latin 1; what it lacks becomes a question mark.
fn literal(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for letter in text.chars() {
        let byte = match letter {
            '–' => 0x96,
            other => u8::try_from(u32::from(other)).ok().filter(|byte| *byte >= 0x20 && !(0x7f..0xa0).contains(byte)).unwrap_or(b'?'),
        };
        if matches!(byte, b'(' | b')' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn the_document_is_navs() {
        let id = new_id(&SeededRandom::new(1));
        assert_eq!((id.len(), id.as_bytes()[14], id.matches('-').count()), (36, b'4', 4), "{id}");
        // 23:30 UTC on the 22nd is the 23rd in Norway.
        let now = UnixTime(jiff::civil::date(2026, 11, 22).at(23, 30, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp().as_second());
        let note = Sykmelding { id: &id, patient: "p1", encounter: "e1", author: "Practitioner/l1", lines: vec!["Bør (hvile) \\ hjemme ✓".into()], now };
        let mut document = note.document();
        let data = document["content"][0]["attachment"]["data"].take();
        let expected = json!({
            "resourceType": "DocumentReference", "id": id, "meta": { "lastUpdated": "2026-11-22T23:30:00Z" }, "status": "current",
            "type": { "coding": [{ "system": "urn:oid:2.16.578.1.12.4.1.1.9602", "code": "J01-2", "display": "Sykmeldinger og trygdesaker" }] },
            "subject": { "reference": "Patient/p1" }, "author": [{ "reference": "Practitioner/l1" }], "description": "Sykmelding 23.11.2026–06.12.2026",
            "content": [{ "attachment": { "contentType": "application/pdf", "language": "NO-nb", "title": "Sykmelding 23.11.2026–06.12.2026", "data": null } }],
            "context": { "encounter": [{ "reference": "Encounter/e1" }], "period": { "start": "2026-11-23", "end": "2026-12-06" } }
        });
        assert_eq!(document, expected);

        let file = STANDARD.decode(data.as_str().unwrap()).unwrap();
        let holds = |part: &[u8]| file.windows(part.len()).any(|found| found == part);
        assert!(file.starts_with(b"%PDF-1.4\n") && file.ends_with(b"%%EOF\n"));
        assert!(holds(b"(B\xf8r \\(hvile\\) \\\\ hjemme ?) Tj"));
        // The table leads to the objects.
        let text: String = file.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
        let start: usize = text.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
        assert!(text[start..].starts_with("xref\n0 6\n"));
        for (number, line) in text[start..].lines().skip(3).take(5).enumerate() {
            let at: usize = line[..10].parse().unwrap();
            assert!(text[at..].starts_with(&format!("{} 0 obj\n", number + 1)), "{line}");
        }
    }
}
