//! Settings under `/proc/sys/net` of the calling thread's network namespace: written only where they are not right
//! already, since `/proc/sys` is often read-only in a container.

use std::io;
use std::path::{Path, PathBuf};

use routenet_core::model::Family;

use super::PlaneError;

const ROOT: &str = "/proc/sys/net";

fn path(key: &str) -> PathBuf {
    Path::new(ROOT).join(key)
}

/// The value of a setting such as `ipv4/ip_forward`.
pub(crate) fn read(key: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(key))?.trim().to_string())
}

/// Makes a setting have this value; answers whether that was a change.
pub(crate) fn ensure(key: &str, value: &str) -> Result<bool, PlaneError> {
    let fault = |error: io::Error| PlaneError {
        object: format!("sysctl net/{key}"),
        what: format!(
            "cannot be set to {value}: {error}; set it before the agent starts, or give it a writable /proc/sys"
        ),
    };
    if read(key).map_err(fault)? == value {
        return Ok(false);
    }
    std::fs::write(path(key), value).map_err(fault)?;
    Ok(true)
}

/// Makes this host forward packets of these families, and says what had to be switched on for it.
///
/// IPv6 is switched on without making the host a router where the kernel can (`force_forwarding`, Linux 6.17): a host
/// that turns into a router stops listening to router advertisements, and may so lose its own default route.
///
/// # Errors
/// When a setting is not right and cannot be written.
pub fn enable_forwarding(families: &[Family]) -> Result<Vec<String>, PlaneError> {
    let mut said = Vec::new();
    if families.contains(&Family::V4) && ensure("ipv4/ip_forward", "1")? {
        said.push("IPv4 forwarding (net.ipv4.ip_forward=1)".to_string());
    }
    if families.contains(&Family::V6) && read("ipv6/conf/all/forwarding").ok().as_deref() != Some("1") {
        if path("ipv6/conf/all/force_forwarding").exists() {
            if ensure("ipv6/conf/all/force_forwarding", "1")? | ensure("ipv6/conf/default/force_forwarding", "1")? {
                said.push("IPv6 forwarding (net.ipv6.conf.all.force_forwarding=1)".to_string());
            }
        } else {
            ensure("ipv6/conf/all/forwarding", "1")?;
            said.push(
                "IPv6 forwarding (net.ipv6.conf.all.forwarding=1; interfaces with accept_ra=1 no longer hear router \
                 advertisements: set accept_ra=2 where the host needs them)"
                    .to_string(),
            );
        }
    }
    Ok(said)
}
