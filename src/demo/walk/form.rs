//! Reads the first form of an HTML page and fills it as it stands: what is prefilled, and the first button. Enough for pages that work
//! without JavaScript and move forward with their first button; not an HTML parser.

/// A form ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// As written; empty means the page's own address.
    pub action: String,
    pub post: bool,
    /// Name and value, in document order.
    pub fields: Vec<(String, String)>,
}

/// A start or end tag with its attributes, names in lower case.
struct Tag<'a> {
    name: String,
    closing: bool,
    attributes: Vec<(String, String)>,
    /// The text up to the next tag, still escaped.
    text: &'a str,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// The page's first form, if it has one.
pub fn first_form(page: &str) -> Option<Form> {
    form_where(page, |_| true)
}

/// The page's first form with this action, as written.
pub fn form_to(page: &str, action: &str) -> Option<Form> {
    form_where(page, |form| form.get("action") == Some(action))
}

/// The page's first form that would send a field of this name.
pub fn form_with(page: &str, field: &str) -> Option<Form> {
    let tags = tags(page);
    let starts = tags.iter().enumerate().filter(|(_, tag)| tag.name == "form" && !tag.closing);
    starts.filter_map(|(start, _)| filled(tags.iter().skip(start))).find(|form| form.fields.iter().any(|(name, _)| name == field))
}

fn form_where(page: &str, is_it: impl Fn(&Tag<'_>) -> bool) -> Option<Form> {
    let tags = tags(page);
    let start = tags.iter().position(|tag| tag.name == "form" && !tag.closing && is_it(tag))?;
    filled(tags.iter().skip(start))
}

/// The form that begins with the first of these tags.
fn filled<'t>(mut inside: impl Iterator<Item = &'t Tag<'t>>) -> Option<Form> {
    let form = inside.next()?;
    let post = form.get("method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
    let mut filled = Form { action: form.get("action").unwrap_or("").to_owned(), post, fields: Vec::new() };
    let mut pressed = false;
    // A select's name, and the value it would send so far.
    let mut select: Option<(String, Option<String>)> = None;
    for tag in inside {
        match (tag.name.as_str(), tag.closing) {
            ("form", true) => break,
            ("input", false) if !tag.has("disabled") => input(tag, &mut filled, &mut pressed),
            ("button", false) if !pressed && !tag.has("disabled") && tag.get("type").is_none_or(|kind| kind.eq_ignore_ascii_case("submit")) => {
                pressed = true;
                push(&mut filled, tag.get("name"), tag.get("value").unwrap_or(""));
            }
            ("textarea", false) => push(&mut filled, tag.get("name"), &unescape(tag.text)),
            ("select", false) => select = tag.get("name").map(|name| (name.to_owned(), None)),
            ("option", false) => {
                if let Some((_, value)) = &mut select
                    && (value.is_none() || tag.has("selected"))
                {
                    *value = Some(tag.get("value").map_or_else(|| unescape(tag.text).trim().to_owned(), str::to_owned));
                }
            }
            ("select", true) => {
                if let Some((name, Some(value))) = select.take() {
                    filled.fields.push((name, value));
                }
            }
            _ => {}
        }
    }
    Some(filled)
}

fn push(form: &mut Form, name: Option<&str>, value: &str) {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        form.fields.push((name.to_owned(), value.to_owned()));
    }
}

fn input(tag: &Tag<'_>, form: &mut Form, pressed: &mut bool) {
    let value = tag.get("value");
    match tag.get("type").unwrap_or("text").to_ascii_lowercase().as_str() {
        "checkbox" | "radio" => {
            if tag.has("checked") {
                push(form, tag.get("name"), value.unwrap_or("on"));
            }
        }
        "submit" | "image" => {
            if !*pressed {
                *pressed = true;
                push(form, tag.get("name"), value.unwrap_or(""));
            }
        }
        "button" | "reset" | "file" => {}
        _ => push(form, tag.get("name"), value.unwrap_or("")),
    }
}

fn tags(page: &str) -> Vec<Tag<'_>> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let (closing, after) = after.strip_prefix('/').map_or((false, after), |after| (true, after));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            rest = after;
            continue;
        }
        let (attributes, after) = attributes(after);
        let text = after.split('<').next().unwrap_or("");
        let name = name.to_ascii_lowercase();
        // What stands in these is text, whatever it looks like.
        rest = match name.as_str() {
            "script" | "style" | "textarea" | "title" if !closing => {
                after.split_once(&format!("</{name}")).map_or("", |(inside, _)| after.get(inside.len()..).unwrap_or(""))
            }
            _ => after,
        };
        found.push(Tag { name, closing, attributes, text });
    }
    found
}

/// The attributes up to `>`, and what follows it.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            // The page ended inside a tag, or `=` stands alone: skip one character.
            let mut chars = after.chars();
            if chars.next().is_none() {
                return (found, "");
            }
            rest = chars.as_str();
            continue;
        }
        let (value, after) = match after.trim_start().strip_prefix('=') {
            None => ("", after),
            Some(after) => value(after.trim_start()),
        };
        found.push((name.to_ascii_lowercase(), unescape(value)));
        rest = after;
    }
}

fn value(rest: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = rest.strip_prefix(quote) {
            return inside.split_once(quote).unwrap_or((inside, ""));
        }
    }
    rest.split_at(rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len()))
}

/// The character references that escaping writes.
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let reference = after.split_once(';').filter(|(name, _)| name.len() <= 8).and_then(|(name, after)| Some((character(name)?, after)));
        match reference {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code = hexadecimal.map_or_else(|| number.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())?;
        return char::from_u32(code);
    }
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(page: &str) -> Vec<(String, String)> {
        first_form(page).unwrap().fields
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_first_form_goes_forward_with_its_first_button() {
        let page = r#"<!doctype html><title>a <form></title><!-- <form action="no"> --><p>3 < 4
            <form method="POST" action="/login?x=1&amp;y=2"><input type=hidden name=csrf value="a&quot;b&#39;c&#x26;d">
            <input name="who" value='lege'/><input type="checkbox" name="keep"><input type="checkbox" name="yes" checked>
            <input type=radio name=p value=1><input type=radio name=p value=2 checked>
            <button name="do" value="allow">Tillat</button><button name="do" value="deny">Avslå</button></form>
            <form action="/other"><input name=x value=y></form>"#;
        assert_eq!(form_with(page, "x").unwrap().action, "/other");
        assert_eq!(form_with(page, "nowhere"), None);
        let form = first_form(page).unwrap();
        assert_eq!((form.action.as_str(), form.post), ("/login?x=1&y=2", true));
        assert_eq!(form.fields, pairs(&[("csrf", "a\"b'c&d"), ("who", "lege"), ("yes", "on"), ("p", "2"), ("do", "allow")]));
    }

    #[test]
    fn a_select_sends_the_selected_option_or_the_first() {
        assert_eq!(fields("<form><select name=a><option value=1>x<option value=2 selected>y</select></form>"), pairs(&[("a", "2")]));
        assert_eq!(fields("<form><select name=a><option>&lt;x&gt;</option><option>y</option></select></form>"), pairs(&[("a", "<x>")]));
    }

    #[test]
    fn what_cannot_be_sent_is_not() {
        let page = "<form><input name=a disabled value=1><input type=reset name=b><button type=button name=c>x</button><button disabled name=d>x</button>
            <textarea name=t>a &amp; <b></textarea><input type=submit name=s value=Send><button name=late>x</button></form>";
        assert_eq!(fields(page), pairs(&[("t", "a & "), ("s", "Send")]));
    }

    #[test]
    fn a_page_without_a_form_has_none() {
        for page in ["", "<p>form</p>", "</form>", "<", "<!-- <form></form>", "<script>'<form>'</script>"] {
            assert_eq!(first_form(page), None, "{page}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(page in "(<|>|/|=|\"|'|form|input|button|select|option|textarea|&|;|#x|é| |<!--){0,60}") {
            let _ = first_form(&page);
        }
    }
}
