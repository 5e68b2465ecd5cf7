//! Whether the labs are what containerlab documents.
