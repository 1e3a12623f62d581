//! Servers that a real registry is not: one that misbehaves in front of it, and one that answers by a table.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to one connection on its way to the registry.
pub(crate) enum Fault {
    /// Answered here, without the registry.
    Answer(&'static str),
    /// Cut, once a client has sent so many bytes.
    CutAfter(u64),
    /// Cut, once the registry has sent so many bytes.
    CutAnswer(u64),
}

/// Passes connections on to a registry without TLS, but first lives through its faults, one after another.
pub(crate) fn in_front_of(registry: u16, faults: Vec<Fault>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let faults = Arc::new(Mutex::new(VecDeque::from(faults)));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let faults = Arc::clone(&faults);
            // The client may go away at any moment; what it thinks of it is what the test looks at.
            thread::spawn(move || drop(pass_on(client, registry, &faults)));
        }
    });
    port
}

fn pass_on(
    mut client: TcpStream,
    registry: u16,
    faults: &Arc<Mutex<VecDeque<Fault>>>,
) -> io::Result<()> {
    if wants_tls(&client)? {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    let next = faults.lock().unwrap().pop_front_if(|fault| matches!(fault, Fault::Answer(_)));
    if let Some(Fault::Answer(answer)) = next {
        read_request(&mut BufReader::new(client.try_clone()?))?;
        return client.write_all(answer.as_bytes());
    }
    let mut server = TcpStream::connect(("127.0.0.1", registry))?;
    let (back_from, back_to) = (server.try_clone()?, client.try_clone()?);
    let back_faults = Arc::clone(faults);
    thread::spawn(move || drop(pass_back(back_from, back_to, &back_faults)));
    let mut from_client = client.try_clone()?;
    while let Some(limit) = cut(faults) {
        let passed = io::copy(&mut (&mut from_client).take(limit), &mut server)?;
        // The first connection that gets so far is the one that is cut.
        if passed < limit || faults.lock().unwrap().pop_front().is_some() {
            server.shutdown(Shutdown::Both)?;
            return client.shutdown(Shutdown::Both);
        }
    }
    io::copy(&mut from_client, &mut server)?;
    server.shutdown(Shutdown::Write)
}

fn pass_back(
    mut server: TcpStream,
    mut client: TcpStream,
    faults: &Mutex<VecDeque<Fault>>,
) -> io::Result<()> {
    let limit = match faults.lock().unwrap().front() {
        Some(&Fault::CutAnswer(bytes)) => bytes,
        _ => u64::MAX,
    };
    let passed = io::copy(&mut (&mut server).take(limit), &mut client)?;
    if passed == limit {
        faults.lock().unwrap().pop_front();
        server.shutdown(Shutdown::Both)?;
        client.shutdown(Shutdown::Both)?;
    }
    Ok(())
}

/// After how many bytes the next connection is cut.
fn cut(faults: &Mutex<VecDeque<Fault>>) -> Option<u64> {
    match faults.lock().unwrap().front() {
        Some(&Fault::CutAfter(bytes)) => Some(bytes),
        _ => None,
    }
}

/// An attempt at TLS, as `--insecure` makes it first.
fn wants_tls(client: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    client.peek(&mut first)?;
    Ok(first == [0x16])
}

/// A request as it came: its head, with lines ended by `\n`.
fn read_request(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line.replace('\r', "");
    }
    let length = header(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
    Ok(head + "\n" + &String::from_utf8_lossy(&body))
}

/// The value of a header in the head of a request.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A server without TLS that answers each request by a function and remembers what it was asked.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(u16, &str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                if wants_tls(&client).unwrap_or(true) {
                    continue;
                }
                let mut reader = BufReader::new(client.try_clone().unwrap());
                if let Ok(request) = read_request(&mut reader) {
                    let answer = answer(port, &request);
                    seen.lock().unwrap().push(request);
                    let _ = client.write_all(answer.as_bytes());
                }
            }
        });
        Self { port, requests }
    }

    /// The requests whose first line starts so.
    pub(crate) fn requests(&self, start: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.starts_with(start)).cloned().collect()
    }
}

/// An answer without a body.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)]) -> String {
    answer_with(status, headers, "")
}

pub(crate) fn answer_with(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut lines = vec![
        format!("HTTP/1.1 {status}"),
        "Connection: close".to_owned(),
        format!("Content-Length: {}", body.len()),
    ];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.join("\r\n") + "\r\n\r\n" + body
}

/// Passes connections on byte by byte, but ends the first one at once.
pub(crate) fn away_for_a_moment(target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok).skip(1) {
            join(client, TcpStream::connect(("127.0.0.1", target)).unwrap());
        }
    });
    port
}

/// Copies both ways until both have ended.
fn join(mut client: TcpStream, mut server: TcpStream) {
    let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        drop(io::copy(&mut back_from, &mut back_to));
        drop(back_to.shutdown(Shutdown::Write));
    });
    thread::spawn(move || {
        drop(io::copy(&mut client, &mut server));
        drop(server.shutdown(Shutdown::Write));
    });
}

/// A proxy that leads every tunnel to one port of this machine; returns its own port and what it is asked for.
pub(crate) fn proxy_to(target: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let head = read_request(&mut BufReader::new(client.try_clone().unwrap())).unwrap();
            seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            join(client, TcpStream::connect(("127.0.0.1", target)).unwrap());
        }
    });
    (port, asked)
}
