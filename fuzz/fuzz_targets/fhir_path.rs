#![no_main]

helsebro_fuzz::target!("fhir_path");
