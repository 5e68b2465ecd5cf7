//! A proxy between Docker and the driver, which lets a test act in the middle of a call.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Hook = Box<dyn FnMut() + Send>;

/// When the hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The driver has not seen the call.
    Before,
    /// The driver has had the call for so long, and may be anywhere in it.
    Within(Duration),
    /// It has carried it out, and Docker has not heard of it.
    After,
}

/// Listens where Docker looks for the driver, until the value is dropped.
#[derive(Clone)]
pub struct Proxy {
    hook: Arc<Mutex<Option<(String, Moment, Hook)>>>,
}

impl Proxy {
    pub fn start(listen: &PathBuf, driver: PathBuf) -> Proxy {
        let listener = UnixListener::bind(listen).expect("the plugin's socket");
        let proxy = Proxy { hook: Arc::default() };
        let shared = proxy.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, driver) = (shared.clone(), driver.clone());
                std::thread::spawn(move || shared.relay(stream, &driver));
            }
        });
        proxy
    }

    /// At the next call of `method`, once, `act` is run; Docker gets no answer to that call.
    pub fn interrupt(&self, method: &str, moment: Moment, act: impl FnMut() + Send + 'static) {
        *self.hook.lock().expect("no panic while locked") = Some((method.to_string(), moment, Box::new(act)));
    }

    /// Whether the interruption has happened.
    pub fn has_acted(&self) -> bool {
        self.hook.lock().expect("no panic while locked").is_none()
    }

    /// One connection: each request is answered before the next is read.
    fn relay(&self, mut docker: UnixStream, driver: &PathBuf) {
        while let Some(request) = read_message(&mut docker) {
            let head = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
            let mut hit = {
                let mut hook = self.hook.lock().expect("no panic while locked");
                hook.take_if(|(method, ..)| head.contains(method.as_str()))
            };
            if let Some((_, Moment::Before, act)) = &mut hit {
                act();
                return;
            }
            let Ok(mut upstream) = UnixStream::connect(driver) else { return };
            if upstream.write_all(&request).is_err() {
                return;
            }
            if let Some((_, Moment::Within(since), act)) = &mut hit {
                std::thread::sleep(*since);
                act();
                return;
            }
            let Some(answer) = read_message(&mut upstream) else { return };
            if let Some((_, Moment::After, mut act)) = hit {
                act();
                return;
            }
            if docker.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// One HTTP message with its body; none at the end of the connection.
fn read_message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut message = Vec::new();
    let mut byte = [0];
    while !message.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        message.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    message.extend(body);
    Some(message)
}
