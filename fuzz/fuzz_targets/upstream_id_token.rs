#![no_main]

helsebro_fuzz::target!("upstream_id_token");
