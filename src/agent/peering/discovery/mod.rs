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

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::thread::JoinHandle;

use routenet_core::model::InterfaceName;
use tokio::sync::watch;

use super::kept::Worker;
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

/// The interfaces on which we announce ourselves and listen for others, and who is the neighbour there now, who is not
/// forgotten for a newcomer.
pub type Asked = BTreeMap<InterfaceName, Option<Ipv6Addr>>;

/// The handle; the thread ends with it.
pub struct Discovery {
    asked: watch::Sender<Asked>,
    view: watch::Receiver<View>,
    thread: JoinHandle<()>,
}

impl Discovery {
    /// Starts it in the calling thread's network namespace.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn spawn() -> io::Result<Discovery> {
        let (asked, questions) = watch::channel(Asked::new());
        let (tell, view) = watch::channel(View::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("rn-discovery".to_string());
        let thread = thread.spawn(move || runtime.block_on(thread::run(questions, tell)))?;
        Ok(Discovery { asked, view, thread })
    }

    /// These interfaces, and no others.
    pub fn ask(&self, interfaces: Asked) {
        self.asked.send_if_modified(|asked| {
            let differs = *asked != interfaces;
            *asked = interfaces;
            differs
        });
    }
}

impl Worker for Discovery {
    type News = View;

    /// The newest view.
    async fn news(&mut self) -> Option<View> {
        self.view.changed().await.ok()?;
        Some(self.view.borrow_and_update().clone())
    }

    fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}
