#![no_main]

helsebro_fuzz::target!("upstream_access_token");
