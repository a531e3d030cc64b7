//! Being written: the contract suite.
