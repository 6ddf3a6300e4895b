//! Access tokens: claims by API registration, one audience. §3.2, M8.
