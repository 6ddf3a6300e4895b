//! fhir_client
