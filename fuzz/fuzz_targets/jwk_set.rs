#![no_main]

helsebro_fuzz::target!("jwk_set");
