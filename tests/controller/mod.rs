//! `slipway controller` as a process: its settings, its log, its probes. What it makes of builds is shown on a real cluster.

mod api_server;
mod judged;
mod process;
mod settings;
mod told;
mod web;
mod webhook;
