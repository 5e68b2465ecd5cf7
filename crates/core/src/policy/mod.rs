//! Policy: selectors, groups, compilation to sets and chains, and the one evaluator.
//!
//! | room | owns | called by |
//! |---|---|---|
//! | [`selector`] | the selector language: grammar, canonical form, matching | the readers of YAML, the compiler |

pub mod selector;
