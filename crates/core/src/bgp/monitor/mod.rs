//! What the speaker knows, in the formats that other tools read.
//!
//! | file | owns |
//! |---|---|
//! | `bmp` | what neighbours say, as it happens (RFC 7854) |
//! | `mrt` | the table as a file (RFC 6396, TABLE_DUMP_V2) |

pub mod bmp;
pub mod mrt;
