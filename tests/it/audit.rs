//! Every decision leaves one record, with what it was about and nothing that opens anything; and the log tells when it was touched.

mod chain;
mod decisions;
mod failing;
mod sent_on;
