//! One binary for all tests that look at Slipway from outside.

mod crds;
