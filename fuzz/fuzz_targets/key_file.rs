#![no_main]

helsebro_fuzz::target!("key_file");
