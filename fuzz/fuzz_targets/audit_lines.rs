#![no_main]

helsebro_fuzz::target!("audit_lines");
