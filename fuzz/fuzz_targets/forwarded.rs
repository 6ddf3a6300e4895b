#![no_main]

helsebro_fuzz::target!("forwarded");
