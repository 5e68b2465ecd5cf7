//! What the speaker knows, in the formats that other tools read.
//!
//! | file | owns |
//! |---|---|
//! | `mrt` | the table as a file (RFC 6396, TABLE_DUMP_V2) |

pub mod mrt;
