//! Documents fetched because somebody registered their address.
