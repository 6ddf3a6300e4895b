//! The trust framework's attest: read, checked, enriched. §3.4.
