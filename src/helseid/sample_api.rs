//! A resource server behind the mock. §2.11, M14.
