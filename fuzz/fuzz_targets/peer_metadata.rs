#![no_main]

helsebro_fuzz::target!("peer_metadata");
