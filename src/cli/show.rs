//! What administration prints for people: aligned columns, times in UTC.

use std::fmt::Write as _;

use serde_json::Value;

/// A table with a heading; columns are two spaces apart.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(&heading).chain(rows).map(|row| line(row)).collect()
}

/// Names and values, one pair a line; a list takes a line for each of its items.
pub fn fields(pairs: &[(String, Vec<String>)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, values) in pairs {
        for (index, value) in values.iter().enumerate() {
            let name = if index == 0 { name.as_str() } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<width$}  {value}");
        }
    }
    out
}

/// A member as one text; nothing where it is absent.
pub fn cell(value: &Value, name: &str) -> String {
    value.get(name).map(text).unwrap_or_default()
}

/// A JSON value for a terminal: what could play tricks there is left out.
pub fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A member that is a time in seconds, as `2026-01-31T12:00:00Z`.
pub fn time(value: &Value, name: &str) -> String {
    let seconds = value.get(name).and_then(Value::as_i64);
    seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).map(|time| time.to_string()).unwrap_or_default()
}

/// Every member, a line each; what ends like the name of a time is shown as one.
pub fn members(answer: &Value) -> String {
    let is_time = |name: &str| ["_at", "_until", "_time"].iter().any(|end| name.ends_with(end));
    let shown = |(name, value): (&String, &Value)| (name.clone(), vec![if is_time(name) { time(answer, name) } else { text(value) }]);
    fields(&answer.as_object().into_iter().flatten().map(shown).collect::<Vec<_>>())
}

/// A text as one segment of a path.
pub fn in_path(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The answer as it came, for programs.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "legekontor på Ås".into()], vec!["longer".into(), String::new()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID      NAME\na       legekontor på Ås\nlonger\n");
    }

    #[test]
    fn a_list_has_a_line_for_each_item() {
        let pairs = [("client_id".to_owned(), vec!["judge".to_owned()]), ("uris".to_owned(), vec!["a".to_owned(), "b".to_owned()])];
        assert_eq!(fields(&pairs), "client_id  judge\nuris       a\n           b\n");
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        assert_eq!(cell(&json!({ "name": "a\u{1b}[2Jb\n" }), "name"), "a[2Jb");
        assert_eq!(time(&json!({ "at": 1_790_000_000 }), "at"), "2026-09-21T14:13:20Z");
    }
}
