//! Tests follow with the next change.
