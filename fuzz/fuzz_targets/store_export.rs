#![no_main]

helsebro_fuzz::target!("store_export");
