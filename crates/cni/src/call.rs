//! One call: the environment and the envelope of the configuration, checked.

use serde_json::Value;

use crate::failure::{Failure, SUPPORTED_VERSIONS};

/// What the runtime asks, as far as it can be judged without the agent.
pub struct Call {
    pub command: String,
    pub container_id: String,
    pub netns: String,
    pub ifname: String,
    pub args: String,
    pub path: String,
    pub socket: String,
}

impl Call {
    pub fn read(command: &str, version: &str, config: &Value) -> Result<Call, Failure> {
        // The version that brought the command.
        let since = match command {
            "ADD" | "DEL" => "0.3.0",
            "CHECK" => "0.4.0",
            "GC" | "STATUS" => "1.1.0",
            _ => {
                let details = "expected ADD, DEL, CHECK, GC, STATUS or VERSION";
                return Err(Failure::new(4, format!("unknown CNI_COMMAND `{command}`"), details));
            }
        };
        if !SUPPORTED_VERSIONS.contains(&version) {
            let details = format!("supported: {}", SUPPORTED_VERSIONS.join(", "));
            return Err(Failure::new(1, format!("cniVersion `{version}` is not supported"), details));
        }
        let age = |version: &str| SUPPORTED_VERSIONS.iter().position(|known| *known == version);
        if age(version) < age(since) {
            let details = format!("raise `cniVersion` in the network configuration to {since} or later");
            return Err(Failure::new(1, format!("{command} is not part of CNI {version}"), details));
        }
        if config.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            let details = "give the network configuration a `name`";
            return Err(Failure::new(7, "the network configuration has no `name`", details));
        }
        let socket = match config.get("socket") {
            None => "/run/routenet/agent.sock",
            Some(Value::String(path)) => path,
            Some(other) => {
                return Err(Failure::new(7, "`socket` in the network configuration is not text", other.to_string()));
            }
        };
        let needed = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                Failure::new(4, format!("{name} is not set"), format!("{command} needs {name} in the environment"))
            })
        };
        let optional = |name: &str| std::env::var(name).unwrap_or_default();
        // GC and STATUS are of a network, not of a container.
        let of_container = !matches!(command, "GC" | "STATUS");
        let call = Call {
            command: command.to_string(),
            container_id: if of_container { needed("CNI_CONTAINERID")? } else { String::new() },
            // DEL must succeed for a namespace that is gone.
            netns: if matches!(command, "ADD" | "CHECK") { needed("CNI_NETNS")? } else { optional("CNI_NETNS") },
            ifname: if of_container { needed("CNI_IFNAME")? } else { String::new() },
            args: optional("CNI_ARGS"),
            path: optional("CNI_PATH"),
            socket: socket.to_string(),
        };
        if of_container {
            check_container_id(&call.container_id)?;
            check_ifname(&call.ifname)?;
        }
        Ok(call)
    }
}

fn check_container_id(id: &str) -> Result<(), Failure> {
    let starts = id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    let details = "expected a letter or digit, then letters, digits, `_`, `.` and `-`";
    Err(Failure::new(4, format!("CNI_CONTAINERID `{id}` is not a container id"), details))
}

fn check_ifname(name: &str) -> Result<(), Failure> {
    let fits = name.len() <= 15 && name != "." && name != "..";
    if fits && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':') {
        return Ok(());
    }
    let details = "expected at most 15 characters without `/`, `:` and space, and not `.` or `..`";
    Err(Failure::new(4, format!("CNI_IFNAME `{name}` is not an interface name"), details))
}
