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
        if !matches!(command, "ADD" | "DEL" | "CHECK") {
            let details = "expected ADD, DEL, CHECK or VERSION";
            return Err(Failure::new(4, format!("unknown CNI_COMMAND `{command}`"), details));
        }
        if !SUPPORTED_VERSIONS.contains(&version) {
            let details = format!("supported: {}", SUPPORTED_VERSIONS.join(", "));
            return Err(Failure::new(1, format!("cniVersion `{version}` is not supported"), details));
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
        let call = Call {
            command: command.to_string(),
            container_id: needed("CNI_CONTAINERID")?,
            // DEL must succeed for a namespace that is gone.
            netns: if command == "DEL" { optional("CNI_NETNS") } else { needed("CNI_NETNS")? },
            ifname: needed("CNI_IFNAME")?,
            args: optional("CNI_ARGS"),
            path: optional("CNI_PATH"),
            socket: socket.to_string(),
        };
        check_container_id(&call.container_id)?;
        check_ifname(&call.ifname)?;
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
