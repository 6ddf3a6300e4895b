//! Logout by the browser. §2.4.
