//! The frontend room.
