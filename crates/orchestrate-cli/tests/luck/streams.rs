//! Users that take their time: raw connections, with bodies sent or read in pieces, or upgraded.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than any request here should take.
const GIVES_UP: Duration = Duration::from_secs(20);

/// A connection on which a request has been sent, or a part of it.
pub struct Stream(TcpStream);

impl Stream {
    pub fn send(address: SocketAddr, head: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(GIVES_UP)).unwrap();
        stream.set_nodelay(true).unwrap();
        write!(stream, "{head}\r\nhost: {address}\r\n\r\n").unwrap();
        Self(stream)
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The head of the answer, in lower case.
    pub fn head(&mut self) -> String {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("no whole head ({error}): {}", String::from_utf8_lossy(&head))
            });
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    pub fn read(&mut self, size: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the other side has closed, once all that was sent has been read.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1024]), Ok(0) | Err(_))
    }

    /// Sends a word through a tunnel, and gets it back.
    pub fn echoes(&mut self, word: &str) -> bool {
        self.write(word.as_bytes()).is_ok() && self.read(word.len()).is_ok_and(|back| back == word.as_bytes())
    }
}

/// An upgraded connection, as a websocket has one.
pub fn tunnel(address: SocketAddr) -> Stream {
    let head = "GET /tunnel HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let mut stream = Stream::send(address, head);
    let head = stream.head();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(stream.echoes("hello"));
    stream
}

/// Sends a body in pieces over this time and wants every byte of it back.
pub fn slow_upload(address: SocketAddr, pieces: usize, pause: Duration) -> JoinHandle<()> {
    const PIECE: usize = 32 * 1024;
    let head = format!("POST /echo HTTP/1.1\r\ncontent-length: {}", pieces * PIECE);
    let mut stream = Stream::send(address, &head);
    stream.write(&[b'0'; PIECE]).unwrap();
    std::thread::spawn(move || {
        let mut back = Stream(stream.0.try_clone().unwrap());
        let reader = std::thread::spawn(move || {
            let head = back.head();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            (0..pieces).for_each(|piece| {
                let expected = vec![b'0' + u8::try_from(piece % 10).unwrap(); PIECE];
                assert!(back.read(PIECE).expect("every piece comes back") == expected, "piece {piece}");
            });
        });
        for piece in 1..pieces {
            super::pause(pause);
            stream.write(&[b'0' + u8::try_from(piece % 10).unwrap(); PIECE]).expect("every piece is taken");
        }
        reader.join().unwrap();
    })
}

/// Reads a long answer in pieces over this time.
pub fn slow_download(address: SocketAddr, pieces: usize, pause: Duration) -> JoinHandle<()> {
    const PIECE: usize = 1024 * 1024;
    let mut stream = Stream::send(address, &format!("GET /bytes?{} HTTP/1.1", pieces * PIECE));
    let head = stream.head();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    std::thread::spawn(move || {
        for piece in 0..pieces {
            let bytes = stream.read(PIECE).unwrap_or_else(|error| panic!("piece {piece}: {error}"));
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            super::pause(pause);
        }
    })
}

/// Sends a large body at once and wants it counted.
pub fn large_upload(address: SocketAddr, size: usize) {
    let mut stream = Stream::send(address, &format!("POST /count HTTP/1.1\r\ncontent-length: {size}"));
    stream.write(&vec![b'u'; size]).expect("all of it is taken");
    let head = stream.head();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(stream.read(size.to_string().len()).unwrap(), size.to_string().as_bytes());
}

/// One answer on a connection of its own, by the live address.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(GIVES_UP))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(body.to_owned()),
        false => Err(std::io::Error::other(answer)),
    }
}
