#![no_main]

helsebro_fuzz::target!("client_auth");
