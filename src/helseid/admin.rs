//! The levers of a tester, on a listener of their own. §7.2.
