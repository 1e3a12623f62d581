//! The engine tier: `slipway run` itself against root's engine, an ordinary user's and a remote one.
//!
//! Invariant: nothing is skipped; without engines every test here fails and says how to get them.

mod engines;
mod harness;
mod interruption;
mod leftovers;
mod outcome;
mod proxy;
mod scan;
mod source;
mod steps;
mod volumes;
