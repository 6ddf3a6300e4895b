//! http

pub mod pages;
pub mod texts;
