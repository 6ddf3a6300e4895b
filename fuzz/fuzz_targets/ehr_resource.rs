#![no_main]

helsebro_fuzz::target!("ehr_resource");
