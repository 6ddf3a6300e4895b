//! The HelseID-style upstream: a peer with its own keys, clients and rules, to log in and exchange tokens against.
