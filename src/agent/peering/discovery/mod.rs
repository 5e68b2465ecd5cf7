//! Who is at the other end of a link (unnumbered peering): told by router advertisements (RFC 4861), ours and theirs, as FRR
//! does it. Ours say that nobody is to take us for a default router.
//!
//! Called by the driver, which names the interfaces and hears of changes. On a thread of its own, so no flood on a link is in
//! the way of a session; there is none before a neighbour is known by its interface.
//!
//! | file | owns |
//! |---|---|
//! | `packet` | router advertisements and solicitations as bytes |
//! | `socket` | the raw socket |
//! | `thread` | when to say what, and who was heard |

mod packet;
mod socket;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use routenet_core::model::InterfaceName;
use tokio::sync::watch;

use crate::plane::interfaces::Interfaces;

/// The links as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub interfaces: Interfaces,
    /// Who announces itself on an interface that was asked about, the first to be heard first.
    pub announced: BTreeMap<InterfaceName, Vec<Ipv6Addr>>,
    /// Why nobody can be heard.
    pub error: Option<String>,
}

/// The handle; the thread ends with it.
pub struct Discovery {
    asked: watch::Sender<BTreeSet<InterfaceName>>,
}

impl Discovery {
    /// Starts it in the calling thread's network namespace. The newest view is in the receiver.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn spawn() -> io::Result<(Discovery, watch::Receiver<View>)> {
        let (asked, questions) = watch::channel(BTreeSet::new());
        let (tell, view) = watch::channel(View::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("rn-discovery".to_string());
        thread.spawn(move || runtime.block_on(thread::run(questions, tell)))?;
        Ok((Discovery { asked }, view))
    }

    /// The interfaces on which we announce ourselves and listen for others: these, and no others.
    pub fn ask(&self, interfaces: BTreeSet<InterfaceName>) {
        self.asked.send_if_modified(|asked| {
            let differs = *asked != interfaces;
            *asked = interfaces;
            differs
        });
    }
}
