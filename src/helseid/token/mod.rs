//! The token endpoint. §2.6, M4.
//!
//! ```text
//!   form ─► assertion (who) ─► dpop (which key) ─► code · refresh · machine · exchange ─► Answer
//! ```

pub mod code;
pub mod exchange;
pub mod machine;
pub mod refresh;
