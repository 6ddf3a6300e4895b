#![no_main]

helsebro_fuzz::target!("dpop_claims");
