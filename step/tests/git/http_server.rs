//! Serves bare repositories through `git http-backend`, with TLS and a password where asked, on a loopback port of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::fixture::output_of;

/// What the server asks for: the value behind `Basic`, that is `me:p@ss word`.
const LOGIN: &str = "bWU6cEBzcyB3b3Jk";
pub(super) const USERNAME: &str = "me";
pub(super) const PASSWORD: &str = "p@ss word";

/// Ends with the process: each connection is answered by a thread of its own.
pub(super) struct HttpServer {
    pub(super) port: u16,
    tls: Option<TempDir>,
}

impl HttpServer {
    /// Everybody may read, without TLS.
    pub(super) fn plain(root: &Path) -> Self {
        let port = serve(root.to_owned(), |stream, root| answer(stream, root, false));
        Self { port, tls: None }
    }

    /// Only [`USERNAME`] with [`PASSWORD`] may read, through TLS.
    pub(super) fn secured(root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        output_of(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
                .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
                .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        );
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let port = serve(root.to_owned(), move |stream, root| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(connection, stream), root, true);
        });
        Self { port, tls: Some(folder) }
    }

    /// The file by which a client trusts the server.
    pub(super) fn certificate(&self) -> String {
        self.tls.as_ref().unwrap().path().join("cert.pem").display().to_string()
    }
}

fn serve(root: PathBuf, answer: impl Fn(TcpStream, &Path) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, root) = (Arc::clone(&answer), root.clone());
            thread::spawn(move || answer(stream.unwrap(), &root));
        }
    });
    port
}

/// One request and its answer; the client opens another connection for the next.
fn answer(stream: impl Read + Write, root: &Path, is_secured: bool) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A client that does not trust the certificate hangs up here.
    if stream.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let request: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let headers = read_headers(&mut stream);
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    let response = if is_secured && header("authorization") != format!("Basic {LOGIN}") {
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
    } else {
        backend(root, &request[0], &request[1], &headers, &body)
    };
    stream.get_mut().write_all(&response).unwrap();
    stream.get_mut().flush().unwrap();
}

fn read_headers(stream: &mut impl BufRead) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => return headers,
        };
    }
}

fn backend(
    root: &Path,
    method: &str,
    target: &str,
    headers: &HashMap<String, String>,
    body: &[u8],
) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..end]);
    let (status, others): (Vec<&str>, Vec<&str>) =
        head.lines().partition(|line| line.starts_with("Status: "));
    let status = status.first().map_or("200 OK", |line| &line["Status: ".len()..]);
    let (body, others) = (&output[end + 4..], others.join("\r\n"));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{others}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
