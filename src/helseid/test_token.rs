//! Any access token, right or wrong, on request. M15.
