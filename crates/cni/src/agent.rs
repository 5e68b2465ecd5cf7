//! The one question to the agent: a JSON line out, a JSON line back.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::call::Call;
use crate::failure::Failure;

/// An ADD that claims a first block over a slow store may take seconds; a runtime's own limit is longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What the agent wants printed, and the exit code.
pub struct Answer {
    pub exit: u8,
    pub stdout: Option<Value>,
}

/// Sends the call, with the configuration as it came, and waits for the answer. Code 11 (try again later) where
/// there is no agent to ask; for STATUS code 50, since no ADD is possible then.
pub fn ask(call: &Call, config: String) -> Result<Answer, Failure> {
    exchange(call, config).map_err(|failure| if call.command == "STATUS" { failure.with_code(50) } else { failure })
}

fn exchange(call: &Call, config: String) -> Result<Answer, Failure> {
    let request = json!({
        "op": "cni",
        "command": call.command,
        "container_id": call.container_id,
        "netns": call.netns,
        "ifname": call.ifname,
        "args": call.args,
        "path": call.path,
        "config": config,
    });
    let mut stream = UnixStream::connect(&call.socket).map_err(|error| unreachable_agent(&call.socket, &error))?;
    let converse = |stream: &mut UnixStream| -> std::io::Result<String> {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = converse(&mut stream).map_err(|error| {
        Failure::new(11, format!("routenetd on {} stopped answering", call.socket), error.to_string())
    })?;
    if line.is_empty() {
        let details = "it was stopped in the middle of the call; the call may be repeated";
        return Err(Failure::new(11, format!("routenetd on {} closed the connection", call.socket), details));
    }
    let reply: Value = serde_json::from_str(&line).map_err(|error| {
        Failure::new(6, format!("routenetd on {} answered what is not JSON", call.socket), error.to_string())
    })?;
    if let Some(error) = reply.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(match error.get("code").and_then(Value::as_str) {
            Some("unavailable") => Failure::new(11, "routenetd cannot answer yet", message),
            _ => Failure::new(100, "routenetd refused the call", message),
        });
    }
    let answer = &reply["ok"];
    Ok(Answer {
        exit: answer["exit"].as_u64().and_then(|exit| u8::try_from(exit).ok()).unwrap_or(1),
        stdout: answer.get("stdout").filter(|stdout| !stdout.is_null()).cloned(),
    })
}

fn unreachable_agent(socket: &str, error: &std::io::Error) -> Failure {
    let details = match error.kind() {
        ErrorKind::NotFound => {
            "there is no such socket: start routenetd, or name its socket by `socket` in the network configuration"
        }
        ErrorKind::ConnectionRefused => "nobody listens on it: start routenetd",
        ErrorKind::PermissionDenied => "this user may not use it: run as root or in the group of `api.writeGroup`",
        _ => "see whether routenetd runs",
    };
    Failure::new(11, format!("cannot reach routenetd on {socket}: {error}"), details)
}
