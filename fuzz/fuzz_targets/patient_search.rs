#![no_main]

helsebro_fuzz::target!("patient_search");
