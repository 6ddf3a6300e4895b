//! Refresh tokens are taken back. RFC 7009.
