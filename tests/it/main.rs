//! One binary, so that it links once; files are named after what they prove.

mod store_contract;
mod store_durability;
