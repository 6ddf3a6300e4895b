//! What sessions and grants have in common for those who administer: found page by page, shown, ended. `rows` is the word of both the path and the
//! member of answers.

use reqwest::Method;
use serde_json::{Map, Value};

use super::admin::{Admin, AdminError, Output, Target};
use super::show;

/// Those that fit, `limit` at most, as `table` writes them.
pub async fn list(
    target: &Target,
    rows: &str,
    which: Vec<(&'static str, &str)>,
    all: bool,
    limit: u32,
    table: impl Fn(&Value) -> String,
) -> Result<String, AdminError> {
    let answer = every(target, &format!("/{rows}"), rows, which, all, limit).await?;
    Ok(said(target, &answer, |answer| table(answer) + more(answer)))
}

pub async fn show(target: &Target, rows: &str, id: &str) -> Result<String, AdminError> {
    let answer = Admin::open(target).await?.ask(Method::GET, &format!("/{rows}/{}", show::in_path(id)), &[], None).await?;
    Ok(said(target, &answer, show::members))
}

/// Ends one of them; `done` says so.
pub async fn end(target: &Target, rows: &str, id: &str, done: &str) -> Result<String, AdminError> {
    let answer = Admin::open(target).await?.ask(Method::POST, &format!("/{rows}/{}/revoke", show::in_path(id)), &[], None).await?;
    Ok(said(target, &answer, |_| done.to_owned()))
}

/// Ends all that fit; `done` stands before their number.
pub async fn end_all(target: &Target, rows: &str, which: &[(&'static str, &str)], done: &str) -> Result<String, AdminError> {
    let answer = revoke(target, &format!("/{rows}/revoke"), which).await?;
    Ok(said(target, &answer, |answer| format!("{done}: {}\n", show::cell(answer, "revoked"))))
}

fn said(target: &Target, answer: &Value, text: impl FnOnce(&Value) -> String) -> String {
    if target.output == Output::Json { show::json(answer) } else { text(answer) }
}

/// A list from one page after the other, `limit` rows at most; `next` where there may be more.
async fn every(target: &Target, path: &str, rows: &str, which: Vec<(&'static str, &str)>, all: bool, limit: u32) -> Result<Value, AdminError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    let mut answer;
    loop {
        let left = (usize::try_from(limit).unwrap_or(usize::MAX) - found.len()).min(200).to_string();
        let mut query = which.clone();
        query.push(("limit", &left));
        query.extend(all.then_some(("state", "all")));
        query.extend(next.as_deref().map(|next| ("after", next)));
        answer = Admin::open(target).await?.ask(Method::GET, path, &query, None).await?;
        if let Some(Value::Array(page)) = answer.get_mut(rows).map(Value::take) {
            found.extend(page);
        }
        next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() || found.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            break;
        }
    }
    if let Some(members) = answer.as_object_mut() {
        members.insert(rows.to_owned(), found.into());
    }
    Ok(answer)
}

/// Ends all that fit, a part at a time, and says how many that were.
async fn revoke(target: &Target, path: &str, which: &[(&'static str, &str)]) -> Result<Value, AdminError> {
    let mut body: Map<String, Value> = which.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect();
    let mut count = 0;
    loop {
        let mut answer = Admin::open(target).await?.ask(Method::POST, path, &[], Some(&Value::Object(body.clone()))).await?;
        count += answer.get("revoked").and_then(Value::as_u64).unwrap_or(0);
        if let Some(next) = answer.get("next").cloned() {
            body.insert("after".to_owned(), next);
            continue;
        }
        if let Some(members) = answer.as_object_mut() {
            members.insert("revoked".to_owned(), count.into());
        }
        return Ok(answer);
    }
}

/// What is said under a list that is not the whole.
fn more(answer: &Value) -> &'static str {
    if answer.get("next").is_some() { "There may be more: say more exactly which, or raise --limit.\n" } else { "" }
}
