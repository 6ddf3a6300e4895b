//! The one stylesheet, in the binary, under a name that changes with its content: it may be cached for ever.

/// `text/css; charset=utf-8`
pub const STYLESHEET: &str = include_str!("../../../templates/helsebro.css");

/// Where [`STYLESHEET`] is served: `/assets/helsebro-<hash>.css`.
pub const STYLESHEET_PATH: &str = match std::str::from_utf8(&PATH) {
    Ok(path) => path,
    Err(_) => panic!("the path is ASCII"),
};

const PREFIX: &[u8] = b"/assets/helsebro-";
const SUFFIX: &[u8] = b".css";
const DIGITS: usize = 16;
const PATH: [u8; PREFIX.len() + DIGITS + SUFFIX.len()] = path(fnv1a(STYLESHEET.as_bytes()));

/// FNV-1a, 64 bits: tells versions apart, protects nothing.
const fn fnv1a(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        bytes = rest;
    }
    hash
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses an index out of range")]
const fn path(hash: u64) -> [u8; PREFIX.len() + DIGITS + SUFFIX.len()] {
    let mut path = [0; PREFIX.len() + DIGITS + SUFFIX.len()];
    let mut at = 0;
    while at < path.len() {
        path[at] = if at < PREFIX.len() {
            PREFIX[at]
        } else if at < PREFIX.len() + DIGITS {
            b"0123456789abcdef"[(hash >> (4 * (at - PREFIX.len()))) as usize & 15]
        } else {
            SUFFIX[at - PREFIX.len() - DIGITS]
        };
        at += 1;
    }
    path
}
