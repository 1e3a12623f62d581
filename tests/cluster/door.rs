//! A door in front of a test server, for looking at a step in the middle of its work.
//!
//! Invariant: nothing passes before the door is open.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};

use super::harness::{PATIENCE, variable};

pub struct Door {
    port: u16,
    knocks: Receiver<()>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Door {
    /// A closed door to a port of the test servers.
    pub fn to(server_port: u16) -> Self {
        let host = variable("SLIPWAY_BRIDGE_ADDRESS");
        let listener = TcpListener::bind((&*host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (knocked, knocks) = mpsc::channel();
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let door = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, host, door) = (client.unwrap(), host.clone(), Arc::clone(&door));
                if knocked.send(()).is_err() {
                    return;
                }
                std::thread::spawn(move || {
                    drop(door.1.wait_while(door.0.lock().unwrap(), |open| !*open).unwrap());
                    // Either side may hang up: the step tells what that did to it.
                    if let Ok(server) = TcpStream::connect((&*host, server_port)) {
                        join(&client, &server);
                    }
                });
            }
        });
        Self { port, knocks, open }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns as soon as somebody stands before the door.
    pub fn wait_for_knock(&self) {
        self.knocks.recv_timeout(PATIENCE).expect("somebody connects");
    }

    pub fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.open();
    }
}

fn join(client: &TcpStream, server: &TcpStream) {
    let pass = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(client, server));
        pass(server, client);
    });
}
