//! What every target is: one entry point of the server, looked up by its name.

pub use libfuzzer_sys;

/// The function of an entry point.
///
/// # Panics
/// Where no row of `src/entry.rs` has this name.
pub fn entry(name: &str) -> fn(&[u8]) {
    helsebro::entry::find(name).expect("a row of src/entry.rs has this name").run
}

/// A fuzz target for the entry point of this name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        static RUN: std::sync::LazyLock<fn(&[u8])> = std::sync::LazyLock::new(|| $crate::entry($name));
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| RUN(bytes));
    };
}
