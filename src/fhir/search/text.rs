//! How texts compare in a search: case and marks do not count, but æ, ø and å are letters of their own. fhir-server.md §6.

use serde_json::Value;

/// A text as it is compared.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        match letter {
            // A ring after an `a` makes it an `å`; any other combining mark is ignored.
            '\u{30a}' if folded.ends_with('a') => {
                folded.pop();
                folded.push('å');
            }
            '\u{300}'..='\u{36f}' => {}
            'á' | 'à' | 'â' | 'ã' | 'ä' | 'ā' | 'ǎ' => folded.push('a'),
            'č' | 'ç' | 'ć' => folded.push('c'),
            'đ' | 'ð' => folded.push('d'),
            'é' | 'è' | 'ê' | 'ë' | 'ē' | 'ě' | 'ę' => folded.push('e'),
            'í' | 'ì' | 'î' | 'ï' | 'ī' => folded.push('i'),
            'ł' => folded.push('l'),
            'ŋ' | 'ñ' | 'ń' | 'ň' => folded.push('n'),
            'ó' | 'ò' | 'ô' | 'õ' | 'ö' | 'ō' => folded.push('o'),
            'ř' => folded.push('r'),
            'š' | 'ś' | 'ș' => folded.push('s'),
            'ŧ' | 'ț' | 'ť' => folded.push('t'),
            'ú' | 'ù' | 'û' | 'ü' | 'ū' | 'ů' => folded.push('u'),
            'ý' | 'ÿ' => folded.push('y'),
            'ž' | 'ź' | 'ż' | 'ǯ' => folded.push('z'),
            other => folded.push(other),
        }
    }
    folded
}

/// The texts of an element: a string, or the parts of a HumanName or an Address.
pub fn texts(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    match value {
        Value::String(text) => found.push(text.as_str()),
        Value::Object(fields) => {
            let parts = ["text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode", "country"];
            for part in parts.iter().filter_map(|name| fields.get(*name)) {
                match part {
                    Value::String(text) => found.push(text),
                    Value::Array(items) => found.extend(items.iter().filter_map(Value::as_str)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    found
}

/// `text` cut at each `at` that no backslash escapes. R4 search, escaping.
pub fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (place, letter) in text.char_indices() {
        if letter == at && !escaped {
            parts.extend(text.get(from..place));
            from = place + letter.len_utf8();
        }
        escaped = letter == '\\' && !escaped;
    }
    parts.extend(text.get(from..));
    parts
}

/// `\,` `\|` `\$` and `\\` as the letters they stand for.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match (letter, next) {
            ('\\', Some(after @ (',' | '|' | '$' | '\\'))) => {
                plain.push(after);
                letters.next();
            }
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_fold_but_norwegian_letters_stay() {
        for (text, folded) in
            [("ÅSE", "åse"), ("A\u{30a}se", "åse"), ("Ærfugl Ø", "ærfugl ø"), ("Žanna Đ Ŋ", "zanna d n"), ("André", "andre"), ("e\u{301}", "e"), ("ä", "a")]
        {
            assert_eq!(fold(text), folded, "{text}");
        }
        assert_ne!(fold("Åse"), fold("Ase"));
    }

    #[test]
    fn escapes_hide_separators() {
        assert_eq!(split(r"a\,b,c", ','), [r"a\,b", "c"]);
        assert_eq!(split(r"a\\,c", ','), [r"a\\", "c"]);
        assert_eq!(unescape(r"a\,b\|c\\d\x"), r"a,b|c\d\x");
    }
}
