//! Who may read and who may write through the agent's socket: SO_PEERCRED and groups, never the file's mode alone.

use nix::unistd::{Gid, Group, Uid};
use routenet_core::model::config::ApiConfig;
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;

use crate::api::Request;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Nothing,
    Read,
    /// Reading too.
    Write,
}

impl Access {
    pub fn allows(self, request: &Request) -> bool {
        self >= if request.writes() { Access::Write } else { Access::Read }
    }
}

/// Root and the agent's own user write; members of the groups read, or write.
#[derive(Clone, Debug)]
pub struct AccessRules {
    own: Uid,
    readers: Option<Gid>,
    writers: Option<Gid>,
}

impl AccessRules {
    /// Looks the groups up; an unknown one is an error that names the field.
    pub fn from_config(config: &ApiConfig) -> Result<AccessRules, String> {
        Ok(AccessRules {
            own: Uid::effective(),
            readers: group(config.read_group.as_deref(), "api.readGroup")?,
            writers: group(config.write_group.as_deref(), "api.writeGroup")?,
        })
    }

    pub fn has_groups(&self) -> bool {
        self.readers.is_some() || self.writers.is_some()
    }

    /// What the process at the other end may do, by the kernel's word.
    pub fn of_peer(&self, stream: &UnixStream) -> Access {
        match stream.peer_cred() {
            Ok(credentials) => {
                let mut groups = supplementary_groups(stream);
                groups.push(Gid::from_raw(credentials.gid()));
                self.of(Uid::from_raw(credentials.uid()), &groups)
            }
            Err(_) => Access::Nothing,
        }
    }

    fn of(&self, uid: Uid, groups: &[Gid]) -> Access {
        let member = |group: Option<Gid>| group.is_some_and(|group| groups.contains(&group));
        if uid.is_root() || uid == self.own || member(self.writers) {
            Access::Write
        } else if member(self.readers) {
            Access::Read
        } else {
            Access::Nothing
        }
    }
}

fn group(name: Option<&str>, field: &str) -> Result<Option<Gid>, String> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(Gid::from_raw(number)));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Some(group.gid)),
        Ok(None) => Err(format!("{field}: there is no group `{name}`; create it (groupadd {name}) or name another")),
        Err(error) => Err(format!("{field}: cannot look up group `{name}`: {error}")),
    }
}

/// The peer's supplementary groups when it connected (SO_PEERGROUPS, Linux 4.13); none where the kernel cannot say.
fn supplementary_groups(stream: &UnixStream) -> Vec<Gid> {
    let mut groups = vec![0 as libc::gid_t; 64];
    loop {
        let mut bytes = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the buffer is as long as `bytes` says, and the kernel writes whole group ids into it.
        let code = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if code == 0 {
            return groups[..count].iter().map(|gid| Gid::from_raw(*gid)).collect();
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_writing_are_apart() {
        let rules =
            AccessRules { own: Uid::from_raw(990), readers: Some(Gid::from_raw(10)), writers: Some(Gid::from_raw(20)) };
        let of = |uid: u32, groups: &[u32]| {
            rules.of(Uid::from_raw(uid), &groups.iter().map(|gid| Gid::from_raw(*gid)).collect::<Vec<_>>())
        };
        assert_eq!(of(0, &[]), Access::Write);
        assert_eq!(of(990, &[]), Access::Write);
        assert_eq!(of(1000, &[5, 20]), Access::Write);
        assert_eq!(of(1000, &[10]), Access::Read);
        assert_eq!(of(1000, &[5]), Access::Nothing);
        assert!(Access::Read.allows(&Request::Status) && !Access::Read.allows(&Request::Drain { graceful_seconds: 0 }));
        assert!(!Access::Nothing.allows(&Request::Status));
    }

    #[test]
    fn an_unknown_group_is_named() {
        let config = ApiConfig { read_group: Some("no-such-group".into()), write_group: None };
        let error = AccessRules::from_config(&config).unwrap_err();
        assert_eq!(
            error,
            "api.readGroup: there is no group `no-such-group`; create it (groupadd no-such-group) or name another"
        );
    }
}
