//! The steps of a question, ready to be sent.

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::fill;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::client::{Connection, Fail};
use crate::question::Step;
use crate::template::{Stocks, Template, escape, unescape};

/// What one connection knows.
#[derive(Clone, Default)]
pub struct Memory {
    pub variables: HashMap<String, String>,
    pub cookies: Option<BTreeMap<String, String>>,
}

impl Memory {
    /// New values for one operation. RFC 7636 §4.1.
    pub fn refresh(&mut self) {
        let mut bytes = [0; 64];
        if fill(&mut bytes).is_err() {
            return;
        }
        let (verifier, rest) = bytes.split_at(32);
        let (state, nonce) = rest.split_at(16);
        let verifier = URL_SAFE_NO_PAD.encode(verifier);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        for (name, value) in
            [("verifier", verifier), ("challenge", challenge), ("state", URL_SAFE_NO_PAD.encode(state)), ("nonce", URL_SAFE_NO_PAD.encode(nonce))]
        {
            self.variables.insert(name.to_owned(), value);
        }
    }
}

/// A step whose templates are read.
pub struct Prepared {
    step: Step,
    host: String,
    path: Template,
    query: Vec<(String, Template)>,
    headers: Vec<(String, Template)>,
    form: Vec<(String, Template)>,
    json: Option<Template>,
    /// The whole request, where nothing in it changes.
    fixed: Option<Vec<u8>>,
}

impl Prepared {
    pub fn new(step: &Step, host: &str, known: &BTreeMap<String, String>, cookies: bool) -> Self {
        let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| (name.clone(), Template::new(value, known))).collect::<Vec<_>>();
        let mut prepared = Self {
            path: Template::new(&step.path, known),
            query: pairs(&step.query),
            headers: pairs(&step.headers),
            form: pairs(&step.form),
            json: step.json.as_ref().map(|text| Template::new(text, known)),
            host: host.to_owned(),
            step: step.clone(),
            fixed: None,
        };
        let pairs = prepared.query.iter().chain(&prepared.headers).chain(&prepared.form).map(|(_, value)| value);
        let is_fixed = pairs.chain(&prepared.json).chain([&prepared.path]).all(Template::is_fixed);
        if is_fixed && !cookies {
            let mut request = Vec::new();
            let made = prepared.write(&Memory::default(), &Stocks::new(), &mut request);
            prepared.fixed = made.is_ok().then_some(request);
        }
        prepared
    }

    /// Sends the request and keeps what is to be kept of its answer.
    ///
    /// # Errors
    /// An answer that is not the expected one, or none.
    pub async fn run(&self, at: usize, memory: &mut Memory, stocks: &Stocks, connection: &mut Connection, buffer: &mut Vec<u8>) -> Result<(), Fail> {
        let with_body = self.step.holds.is_some() || !self.step.save.is_empty();
        let mut answer = match &self.fixed {
            Some(request) => connection.send(request, with_body).await?,
            None => {
                self.write(memory, stocks, buffer)?;
                connection.send(buffer, with_body).await?
            }
        };
        let mut hops = 0;
        loop {
            if let Some(jar) = &mut memory.cookies {
                for (name, value) in answer.cookies.drain(..) {
                    if value.is_empty() {
                        jar.remove(&name)
                    } else {
                        jar.insert(name, value)
                    };
                }
            }
            let next = answer.location.as_deref().filter(|_| self.step.follow && hops < 10).and_then(|location| local(location, &self.host));
            let Some(next) = next else { break };
            buffer.clear();
            buffer.extend_from_slice(format!("GET {next} HTTP/1.1\r\nhost: {}\r\n", self.host).as_bytes());
            write_cookies(memory, buffer);
            buffer.extend_from_slice(b"\r\n");
            answer = connection.send(buffer, with_body).await?;
            hops += 1;
        }
        let beginning = || String::from_utf8_lossy(answer.body.get(..answer.body.len().min(300)).unwrap_or_default()).into_owned();
        if answer.status != self.step.expect {
            return Err(Fail::Status(at, answer.status, format!("{} {}", answer.location.as_deref().unwrap_or_default(), beginning())));
        }
        if let Some(text) = &self.step.holds
            && !answer.body.windows(text.len()).any(|part| part == text.as_bytes())
        {
            return Err(Fail::Other(format!("step {at}: the answer does not hold {text}: {}", beginning())));
        }
        if !self.step.save.is_empty() {
            let body: Value = serde_json::from_slice(&answer.body).map_err(|error| Fail::Other(format!("step {at}: {error}: {}", beginning())))?;
            for (name, member) in &self.step.save {
                let value = body.get(member).and_then(Value::as_str).ok_or_else(|| Fail::Other(format!("step {at}: no {member}: {}", beginning())))?;
                memory.variables.insert(name.clone(), local(value, &self.host).unwrap_or(value).to_owned());
            }
        }
        for (name, parameter) in &self.step.save_param {
            let location = answer.location.as_deref().unwrap_or_default();
            let mut pairs = location.split_once('?').map_or("", |(_, query)| query).split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(known, _)| known == parameter).map(|(_, value)| unescape(value));
            memory.variables.insert(name.clone(), value.ok_or_else(|| Fail::Other(format!("step {at}: no {parameter} in {location}")))?);
        }
        Ok(())
    }

    fn write(&self, memory: &Memory, stocks: &Stocks, out: &mut Vec<u8>) -> Result<(), Fail> {
        let fill = |template: &Template| {
            let mut text = String::new();
            template.fill(&memory.variables, stocks, &mut text).map(|()| text)
        };
        let pairs = |pairs: &[(String, Template)], out: &mut Vec<u8>| -> Result<(), Fail> {
            for (at, (name, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(b'&');
                }
                escape(name, out);
                out.push(b'=');
                escape(&fill(value)?, out);
            }
            Ok(())
        };
        out.clear();
        out.extend_from_slice(format!("{} {}", self.step.method, fill(&self.path)?).as_bytes());
        if !self.query.is_empty() {
            out.push(b'?');
            pairs(&self.query, out)?;
        }
        out.extend_from_slice(format!(" HTTP/1.1\r\nhost: {}\r\n", self.host).as_bytes());
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {}\r\n", fill(value)?).as_bytes());
        }
        write_cookies(memory, out);
        let mut body = Vec::new();
        let kind = match &self.json {
            Some(json) => {
                body.extend_from_slice(fill(json)?.as_bytes());
                "application/json"
            }
            None => {
                pairs(&self.form, &mut body)?;
                "application/x-www-form-urlencoded"
            }
        };
        if self.step.method != "GET" {
            out.extend_from_slice(format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        Ok(())
    }
}

fn write_cookies(memory: &Memory, out: &mut Vec<u8>) {
    for (at, (name, value)) in memory.cookies.iter().flatten().enumerate() {
        out.extend_from_slice(if at == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(format!("{name}={value}").as_bytes());
    }
    if memory.cookies.as_ref().is_some_and(|jar| !jar.is_empty()) {
        out.extend_from_slice(b"\r\n");
    }
}

/// Path and query of an address at this server.
fn local<'a>(location: &'a str, host: &str) -> Option<&'a str> {
    if location.starts_with('/') {
        return Some(location);
    }
    let rest = location.strip_prefix("http://")?.strip_prefix(host)?;
    rest.starts_with('/').then_some(rest)
}
