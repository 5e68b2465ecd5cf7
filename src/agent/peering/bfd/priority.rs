//! The thread's place before others: neighbours count a packet that comes late as lost.

use std::io;

/// The lowest real-time priority: before every ordinary thread, behind whatever else is real-time here.
const REAL_TIME: i32 = 1;
const NICEST: i32 = -20;

/// Puts the calling thread before others, as far as it may, and says what it came to.
pub fn raise() {
    let Err(refused) = real_time() else {
        tracing::debug!("BFD runs with real-time priority");
        return;
    };
    match nice() {
        Ok(()) => tracing::info!(%refused, nice = NICEST, "BFD may not run with real-time priority, and runs niced"),
        Err(error) => tracing::warn!(
            real_time = %refused,
            nice = %error,
            "BFD runs with ordinary priority: on a busy machine neighbours may take it for gone. Give the agent CAP_SYS_NICE, or BFD a \
             longer interval"
        ),
    }
}

fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: REAL_TIME };
    // SAFETY: 0 is the calling thread; the kernel reads `parameters`, which lives as long as the call.
    let code =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn nice() -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread on Linux.
    let code = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
