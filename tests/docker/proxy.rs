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
    /// It has had the call for so long.
    During(Duration),
    /// It has carried it out, and Docker has not heard of it.
    After,
}

/// A call that came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As in `NetworkDriver.Join`.
    pub method: String,
    /// How many bytes Docker sent.
    pub body: usize,
    /// HTTP's; none if Docker got no answer.
    pub status: Option<u16>,
}

/// Listens where Docker looks for the driver, until the value is dropped.
#[derive(Clone)]
pub struct Proxy {
    hook: Arc<Mutex<Option<(String, Moment, Hook)>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Proxy {
    pub fn start(listen: &PathBuf, driver: PathBuf) -> Proxy {
        let listener = UnixListener::bind(listen).expect("the plugin's socket");
        let proxy = Proxy { hook: Arc::default(), calls: Arc::default() };
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

    /// The calls since this was asked last.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().expect("no panic while locked"))
    }

    /// One connection: each request is answered before the next is read.
    fn relay(&self, mut docker: UnixStream, driver: &PathBuf) {
        while let Some((request, body)) = read_message(&mut docker) {
            let head = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
            let method = head.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_string();
            let hit = {
                let mut hook = self.hook.lock().expect("no panic while locked");
                hook.take_if(|(wanted, ..)| method.ends_with(&format!(".{wanted}")))
            };
            let answer = forward(&request, driver, hit);
            let status = answer.as_ref().and_then(|answer| {
                String::from_utf8_lossy(&answer[..answer.len().min(20)]).split(' ').nth(1)?.parse().ok()
            });
            self.calls.lock().expect("no panic while locked").push(Call { method, body, status });
            let Some(answer) = answer else { return };
            if docker.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// The driver's answer; none if it is not for Docker to hear.
fn forward(request: &[u8], driver: &PathBuf, hit: Option<(String, Moment, Hook)>) -> Option<Vec<u8>> {
    let (moment, mut act): (Option<Moment>, Hook) = match hit {
        Some((_, moment, act)) => (Some(moment), act),
        None => (None, Box::new(|| {})),
    };
    if moment == Some(Moment::Before) {
        act();
        return None;
    }
    let mut upstream = UnixStream::connect(driver).ok()?;
    upstream.write_all(request).ok()?;
    if let Some(Moment::During(while_)) = moment {
        std::thread::sleep(while_);
        act();
        return None;
    }
    let answer = read_message(&mut upstream).map(|(answer, _)| answer);
    if moment == Some(Moment::After) {
        act();
        return None;
    }
    answer
}

/// One HTTP message, and how long its body is; none at the end of the connection.
fn read_message(stream: &mut UnixStream) -> Option<(Vec<u8>, usize)> {
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
    let length = body.len();
    message.extend(body);
    Some((message, length))
}
