//! How many entries a table of the legacy back end has, by one system call: it tells nobody of changes, so a number that
//! we did not cause is what gives one away. Called by the mirror, once in a while.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use routenet_core::desired::Table;
use routenet_core::model::Family;
use socket2::{Domain, Socket, Type};

use crate::plane::PlaneError;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
const BUILTINS: usize = 5;
const LONGEST_NAME: usize = 32;

/// `struct ipt_getinfo`, and `struct ip6t_getinfo`, which is the same.
#[repr(C)]
#[derive(Default)]
struct Info {
    name: [u8; LONGEST_NAME],
    valid_hooks: libc::c_uint,
    hook_entry: [libc::c_uint; BUILTINS],
    underflow: [libc::c_uint; BUILTINS],
    entries: libc::c_uint,
    size: libc::c_uint,
}

/// A socket of each family in the network namespace of the thread that opened it.
pub struct EntryCounter {
    v4: Socket,
    v6: Socket,
}

impl EntryCounter {
    pub fn open() -> Result<EntryCounter, PlaneError> {
        let open = || Ok::<_, io::Error>(EntryCounter { v4: socket(Domain::IPV4)?, v6: socket(Domain::IPV6)? });
        open().map_err(|error| PlaneError { object: "ip_tables".into(), what: format!("no socket: {error}") })
    }

    /// Of a table: two for each chain beside its rules, and what its built-in chains need.
    pub fn entries(&self, family: Family, table: Table) -> io::Result<u32> {
        let (socket, level) = match family {
            Family::V4 => (&self.v4, libc::SOL_IP),
            Family::V6 => (&self.v6, libc::SOL_IPV6),
        };
        let mut info = Info::default();
        info.name[..table.name().len()].copy_from_slice(table.name().as_bytes());
        let mut length = size_of::<Info>() as libc::socklen_t;
        // SAFETY: a descriptor that lives, and a struct of the kernel's layout with its size; every bit pattern is one of it.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                GET_INFO,
                std::ptr::from_mut(&mut info).cast(),
                std::ptr::from_mut(&mut length),
            )
        };
        if got == 0 { Ok(info.entries) } else { Err(io::Error::last_os_error()) }
    }
}

/// Neither bound nor connected: it only asks.
fn socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::DGRAM, None)
}
