//! Each rule of the engine by example.
