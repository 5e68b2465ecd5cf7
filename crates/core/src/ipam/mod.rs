//! Which block and which address: decisions as values. No store, no journal; those carry them out.
