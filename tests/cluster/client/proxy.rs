//! A way to the API server that breaks when a test wants it to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::super::super::sessions::Folder;

/// Stands between a client and the API server.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: Vec<TcpStream>,
    /// So many connections are closed before a byte passes.
    refused: u32,
}

impl Proxy {
    /// Before the API server of a kubeconfig.
    pub fn of(kubeconfig: &str) -> Self {
        let server = server_of(kubeconfig).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let proxy = Self { port, state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = state.lock().unwrap();
                if state.refused > 0 {
                    state.refused -= 1;
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                pass(client.try_clone().unwrap(), server.try_clone().unwrap());
                pass(server.try_clone().unwrap(), client.try_clone().unwrap());
                state.open.extend([client, server]);
            }
        });
        proxy
    }

    /// A kubeconfig that leads through it.
    pub fn kubeconfig(&self, test: &str, kubeconfig: &str) -> String {
        let host = server_of(kubeconfig).split(':').next().unwrap();
        let way = format!("server: https://127.0.0.1:{}\n    tls-server-name: {host}", self.port);
        let server = format!("server: https://{}", server_of(kubeconfig));
        assert!(kubeconfig.contains(&server), "{server}");
        let folder = Folder::new(test).with("kubeconfig", kubeconfig.replace(&server, &way));
        folder.path("kubeconfig").to_str().unwrap().to_owned()
    }

    /// Breaks all connections, and so many that come next.
    pub fn cut(&self, refused: u32) {
        let mut state = self.state.lock().unwrap();
        state.refused = refused;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Host and port.
fn server_of(kubeconfig: &str) -> &str {
    let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: https://"));
    line.unwrap().trim()
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    });
}
