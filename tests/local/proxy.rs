//! An engine's socket that can stop answering.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use super::harness::User;

/// Stands before the engine of a user.
pub struct Proxy {
    path: PathBuf,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl Proxy {
    pub fn new(user: &User) -> Self {
        let path = user.path("proxy.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let hangs = Arc::new((Mutex::new(false), Condvar::new()));
        let proxy = Self { path, hangs: Arc::clone(&hangs) };
        let engine = user.engine().strip_prefix("unix://").unwrap().to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&engine).unwrap();
                pass(client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&hangs));
                pass(server, client, Arc::clone(&hangs));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    pub fn hang(&self) {
        *self.hangs.0.lock().unwrap() = true;
    }

    pub fn go_on(&self) {
        *self.hangs.0.lock().unwrap() = false;
        self.hangs.1.notify_all();
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, hangs: Arc<(Mutex<bool>, Condvar)>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            drop(hangs.1.wait_while(hangs.0.lock().unwrap(), |hangs| *hangs));
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    });
}
