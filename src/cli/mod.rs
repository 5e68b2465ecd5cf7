//! The cli room.

pub mod lab;
