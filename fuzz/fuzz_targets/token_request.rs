#![no_main]

helsebro_fuzz::target!("token_request");
