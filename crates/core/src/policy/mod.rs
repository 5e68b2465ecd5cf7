//! Policy: selectors, groups, compilation to sets and chains, and the one evaluator.
