//! What the fuzz targets do with bytes, as plain functions: `tests/fuzz` calls the same with seeded ones.

pub mod bgp_decode;
pub mod bgp_session;
pub mod bytes;
pub mod grammar;
#[path = "../../tests/policy/naive_selector.rs"]
mod naive_selector;
pub mod objects;
pub mod restore;
pub mod selector;
pub mod yaml;
