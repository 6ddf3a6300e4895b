//! Request objects. §2.3.
