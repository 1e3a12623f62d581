//! `slipway-step git` against real repositories: local ones, a real sshd, git's own http backend with and without TLS.

mod credentials;
mod failures;
mod fixture;
mod http;
mod http_server;
mod revisions;
mod ssh;
