//! A way to the API server that breaks when a test wants it to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::super::super::sessions::Folder;
use super::super::harness::PATIENCE;

/// Stands between a client and the API server.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    came: Arc<Condvar>,
}

#[derive(Default)]
struct State {
    open: Vec<(TcpStream, TcpStream)>,
    /// So many connections are closed before a byte passes.
    refused: u32,
    /// Once so many bytes went from the client over one connection, so many others are refused.
    then: Option<(usize, u32)>,
}

impl Proxy {
    /// Before the API server of a kubeconfig.
    pub fn of(kubeconfig: &str) -> Self {
        let server = server_of(kubeconfig).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let came = Arc::new(Condvar::new());
        let proxy = Self { port, state: Arc::clone(&state), came: Arc::clone(&came) };
        let passed = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = state.lock().unwrap();
                if state.refused > 0 {
                    state.refused -= 1;
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let of_pass = Arc::clone(&passed);
                pass(from, to, move |count| of_pass.lock().unwrap().has_passed(count));
                pass(server.try_clone().unwrap(), client.try_clone().unwrap(), |_| {});
                state.open.push((client, server));
                came.notify_all();
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

    /// Once so many bytes went over one connection, so many that come next break.
    pub fn refuse_after(&self, bytes: usize, refused: u32) {
        self.state.lock().unwrap().then = Some((bytes, refused));
    }

    /// Waits until so many have come since the last cut.
    pub fn wait_for_connections(&self, count: usize) {
        let few = |state: &mut State| state.open.len() < count;
        let state = self.state.lock().unwrap();
        let (_state, waited) = self.came.wait_timeout_while(state, PATIENCE, few).unwrap();
        assert!(!waited.timed_out(), "there are no {count} connections");
    }

    /// Breaks all connections, and so many that come next.
    pub fn cut(&self, refused: u32) {
        let mut state = self.state.lock().unwrap();
        state.refused = refused;
        for (client, server) in state.open.drain(..) {
            // They may be closed already.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn has_passed(&mut self, count: usize) {
        if let Some((_, refused)) = self.then.take_if(|(bytes, _)| count >= *bytes) {
            self.refused = refused;
        }
    }
}

/// Host and port.
fn server_of(kubeconfig: &str) -> &str {
    let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: https://"));
    line.unwrap().trim()
}

fn pass(mut from: TcpStream, mut to: TcpStream, tell: impl Fn(usize) + Send + 'static) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut piece) {
            passed += count;
            tell(passed);
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    });
}
