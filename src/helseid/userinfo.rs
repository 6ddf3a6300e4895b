//! Claims of the user, with HPR details. §2.10, 3.3.
