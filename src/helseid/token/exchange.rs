//! Token exchange. §5, M12.
