//! The durable back end: one file, one writer.
