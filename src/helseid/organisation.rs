//! Which organisation acts. §4, M10, M11.
