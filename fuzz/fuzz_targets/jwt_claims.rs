#![no_main]

helsebro_fuzz::target!("jwt_claims");
