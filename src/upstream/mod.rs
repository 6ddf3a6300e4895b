//! The upstream identity provider, as its client: discovery, PAR, DPoP, login, refresh, exchange. `reference/helseid.md` §1–5 are its manners.
