//! What must stand in no log and no error, looked for in everything the servers of this process log and in every error they answer, during the whole run.
//! DESIGN §3, Failure.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

/// What was found, with the line it stood in; told by whichever test looks next.
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// A leak that a test plants to see it found.
    static PLANTED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// The identity numbers and HPR numbers of the data set.
pub static NUMBERS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let directory = include_str!("../../../data/bundles/00-directory.json");
    let patients = include_str!("../../../data/bundles/patients.ndjson");
    let mut numbers = BTreeSet::new();
    for document in std::iter::once(directory).chain(patients.lines()) {
        collect(&serde_json::from_str(document).unwrap(), &mut numbers);
    }
    assert!(numbers.len() > 40, "{} numbers", numbers.len());
    numbers
});

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            // .1 to .4 are people's; the rest are of organisations, some of them short enough to be microseconds.
            let of_a_person = members
                .get("system")
                .and_then(Value::as_str)
                .and_then(|system| system.strip_prefix("urn:oid:2.16.578.1.12.4.1.4."))
                .is_some_and(|which| matches!(which, "1" | "2" | "3" | "4"));
            if let Some(number) = members.get("value").and_then(Value::as_str).filter(|_| of_a_person) {
                into.insert(number.to_owned());
            }
            members.values().for_each(|value| collect(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether eleven digits are somebody's number: two control digits, and a month as D-numbers, H-numbers and synthetic ones write it.
fn is_identity_number(word: &str) -> bool {
    let digits: Vec<u32> = word.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() != 11 || word.len() != 11 {
        return false;
    }
    let weighed = |weights: &[u32]| digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == 0;
    let (day, month) = (digits[0] % 4 * 10 + digits[1], (digits[2] * 10 + digits[3]) % 40);
    (1..=31).contains(&day) && (1..=40).contains(&month) && weighed(&[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) && weighed(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1])
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// `code_GRANT_SECRET`, `rt_GRANT_GENERATION_PROOF`, `sess_ID_SECRET`, `launch_SECRET`.
fn is_ours(word: &str) -> bool {
    let long = |text: &str| text.len() >= 40 && is_base64url(text);
    if let Some(secret) = word.strip_prefix("launch_") {
        return long(secret);
    }
    let rest = ["code_", "rt_", "sess_"].iter().find_map(|prefix| word.strip_prefix(prefix));
    rest.and_then(|rest| rest.split_once('_')).is_some_and(|(_, secret)| long(secret))
}

/// Three parts of base64url, the first of which begins a JSON object.
fn is_jwt(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() >= 3 && parts[0].starts_with("eyJ") && parts[1].len() >= 8 && parts[..3].iter().all(|part| is_base64url(part))
}

/// Where a JWT begins in a text: by a member that headers begin with, or by the dot behind it. Three letters alone are in one hash of some thousand.
pub fn jwt_in(text: &str) -> Option<&str> {
    let header = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    // {"alg, {"typ, {"kid, {"jwk
    let begins = |rest: &&str| ["eyJhbGci", "eyJ0eXAi", "eyJraWQi", "eyJqd2si"].iter().any(|known| rest.starts_with(known));
    text.match_indices("eyJ").map(|(at, _)| &text[at..]).find(|rest| begins(rest) || rest.trim_start_matches(header).starts_with('.'))
}

/// What in a text must not be there, if anything.
pub fn secret_in(text: &str) -> Option<&'static str> {
    for (mark, what) in [("-----BEGIN", "a key in PEM"), ("\"d\":\"", "a private JWK"), ("\"d\": \"", "a private JWK"), ("\\\"d\\\":", "a private JWK")] {
        if text.contains(mark) {
            return Some(what);
        }
    }
    for scheme in ["Basic ", "basic ", "Bearer ", "DPoP "] {
        for (at, _) in text.match_indices(scheme) {
            let shown: String = text[at + scheme.len()..].chars().take_while(|c| c.is_ascii_alphanumeric() || "+/-_.".contains(*c)).collect();
            if shown.len() >= 24 {
                return Some("credentials");
            }
        }
    }
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        if is_jwt(word) {
            return Some("a token");
        }
    }
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        if is_ours(word) {
            return Some("a code, a refresh token, a cookie or a handle");
        }
    }
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        if is_identity_number(word) {
            return Some("an identity number");
        }
        if NUMBERS.contains(word) {
            return Some("a number of a person");
        }
    }
    None
}

/// Every event comes by here, one a call.
pub struct Scan;

impl Write for Scan {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        look("the log", &String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Notes what is found in a text that is logged or answered.
pub fn look(place: &str, text: &str) {
    let Some(what) = secret_in(text) else { return };
    let told = format!("{what} in {place}, test {}: {text}", std::thread::current().name().unwrap_or("of another thread"));
    let planted = PLANTED.with_borrow_mut(|planted| planted.as_mut().map(|planted| planted.push(told.clone())).is_some());
    if !planted {
        FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(told);
        ANY.store(true, Ordering::SeqCst);
    }
}

/// Fails where anything was found so far, in this test or another; told once, so that one leak is one failed test.
#[track_caller]
pub fn nothing_found() {
    if !std::thread::panicking() && ANY.swap(false, Ordering::SeqCst) {
        let found = std::mem::take(&mut *FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        panic!("{}", found.join("\n"));
    }
}

/// What is found on this thread while `plant` runs, and told to nobody else.
pub fn planted(plant: impl FnOnce()) -> Vec<String> {
    PLANTED.set(Some(Vec::new()));
    plant();
    PLANTED.take().unwrap()
}
