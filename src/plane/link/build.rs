//! One link: how it comes to be, is taken over, mended and checked. Every step is a request that has been answered when
//! the function returns.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use routenet_core::desired::Link;
use routenet_core::model::InterfaceName;

use crate::plane::netlink::{Connection, Outcome, Request};
use crate::plane::sysctl;

use super::EXISTS_ALREADY;
use super::host::{self, HostLink, has_ipv6};
use super::{reaper, workload};
use crate::plane::namespace::{Namespace, NamespaceId};

/// What building needs: a connection to the host's namespace, and the way back to it.
pub(super) struct Builder {
    pub connection: Connection,
    pub home: Namespace,
    /// Whether the kernel has IPv6.
    pub ipv6: bool,
}

/// A link that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Built {
    pub index: u32,
    /// The workload's namespace, where it could be opened.
    pub namespace: Option<NamespaceId>,
}

impl Builder {
    /// For the calling thread's namespace.
    pub(super) fn new() -> Result<Builder, String> {
        Ok(Builder {
            connection: Connection::open().map_err(|error| format!("netlink socket: {error}"))?,
            home: Namespace::current()?,
            ipv6: sysctl::read("ipv6/conf/all/disable_ipv6").is_ok(),
        })
    }

    fn batch(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, String> {
        self.connection.batch(requests).map_err(|error| format!("netlink: {error}"))
    }

    /// The host's link of a name.
    pub(super) fn find(&mut self, name: &InterfaceName) -> Result<Option<HostLink>, String> {
        self.get(host::get_by_name(name.as_str()))
    }

    pub(super) fn find_index(&mut self, index: u32) -> Result<Option<HostLink>, String> {
        self.get(host::get_by_index(index))
    }

    fn get(&mut self, request: Request) -> Result<Option<HostLink>, String> {
        let mut outcomes = self.batch(&[request])?;
        match outcomes.pop() {
            Some(Ok(Some(RouteNetlinkMessage::NewLink(message)))) => Ok(HostLink::read(&message)),
            Some(Err(refusal)) if refusal.is(Errno::ENODEV) => Ok(None),
            Some(Err(refusal)) => Err(format!("cannot be read: {refusal}")),
            _ => Err("cannot be read: the kernel answered something else".to_string()),
        }
    }

    /// The workload's namespace. With `known`, only if it is still that one: a path such as `/proc/PID/ns/net` may have
    /// become somebody else's.
    fn open(&self, link: &Link, known: Option<NamespaceId>) -> Result<Namespace, String> {
        let namespace = Namespace::of_workload(&link.netns, &self.home)?;
        match known {
            Some(id) if id != namespace.id() => Err(format!("{} is another workload's namespace by now", link.netns)),
            _ => Ok(namespace),
        }
    }

    /// Creates a link again that somebody took away.
    ///
    /// # Errors
    /// Those of [`Builder::create`]; and one that its runtime configured cannot be made again without it.
    pub(super) fn rebuild(
        &mut self,
        name: &InterfaceName,
        link: &Link,
        known: Option<NamespaceId>,
    ) -> Result<Built, String> {
        if link.handed_over && self.find(name)?.is_none() {
            return Err("is gone, and only its runtime can plug it in again: restart the container".to_string());
        }
        self.create(name, link, known)
    }

    /// Creates the link, or takes it over when it is there already. After an error nothing of it is left.
    pub(super) fn create(
        &mut self,
        name: &InterfaceName,
        link: &Link,
        known: Option<NamespaceId>,
    ) -> Result<Built, String> {
        let namespace = if link.handed_over { None } else { Some(self.open(link, known)?) };
        if let Some(there) = self.find(name)? {
            if self.is_intact(&there, link, namespace.as_ref())? {
                return self.mend(&there, name, link, namespace.map(|namespace| namespace.id()));
            }
            self.delete(there.index)?;
        }
        let (index, peer) = self.create_pair(name, link, namespace.as_ref())?;
        let built = self.furnish(name, link, namespace.as_ref(), index, peer);
        if built.is_err() {
            // The error that matters is the first; the link has no other owner, so this can only fail as gone.
            let _ = self.delete(index);
        }
        built
    }

    /// Answers the indexes of both ends.
    fn create_pair(&mut self, name: &InterfaceName, link: &Link, to: Option<&Namespace>) -> Result<(u32, u32), String> {
        let requests =
            [host::create_pair(name, link, to), host::set_up(name, link, self.ipv6), host::get_by_name(name.as_str())];
        let outcomes = self.batch(&requests)?;
        let [created, up, got] = <[Outcome; 3]>::try_from(outcomes).map_err(|_| "netlink: an answer is missing")?;
        if let Err(refusal) = created {
            return Err(match refusal.is(Errno::EEXIST) {
                true => format!("interface {} {EXISTS_ALREADY} {}", link.ifname, link.netns),
                false => format!("the veth cannot be created: {refusal}"),
            });
        }
        let ends = match got {
            Ok(Some(RouteNetlinkMessage::NewLink(message))) => {
                HostLink::read(&message).and_then(|there| Some((there.index, there.peer?)))
            }
            _ => None,
        };
        let Some((index, peer)) = ends else {
            return Err("vanished while it was created".to_string());
        };
        if let Err(refusal) = up {
            let _ = self.delete(index);
            return Err(format!("cannot be set up: {refusal}"));
        }
        Ok((index, peer))
    }

    fn furnish(
        &mut self,
        name: &InterfaceName,
        link: &Link,
        namespace: Option<&Namespace>,
        index: u32,
        peer: u32,
    ) -> Result<Built, String> {
        if let Some(namespace) = namespace {
            let mut inside = namespace.enter(&self.home, || workload::open(link))??;
            workload::configure(&mut inside, peer, link)?;
        }
        if has_ipv6(link) {
            let disabled = format!("ipv6/conf/{name}/disable_ipv6");
            sysctl::ensure(&disabled, "0").map_err(|error| format!("no IPv6 on the host: {error}"))?;
        }
        let gateways = host::gateways(link).into_iter();
        let mut requests: Vec<Request> = gateways.map(|gateway| host::add_gateway(index, gateway)).collect();
        requests.push(host::set_alias(index, link));
        requests.push(host::get_by_index(index));
        for outcome in self.batch(&requests)? {
            outcome.map_err(|refusal| format!("cannot be furnished on the host: {refusal}"))?;
        }
        Ok(Built { index, namespace: namespace.map(Namespace::id) })
    }

    /// Whether a link is one that we built to its end and whose other end, unless it is its runtime's business, is still
    /// in place.
    fn is_intact(&mut self, there: &HostLink, link: &Link, namespace: Option<&Namespace>) -> Result<bool, String> {
        let Some(namespace) = namespace else { return Ok(there.is_complete(link)) };
        if !there.is_complete(link) {
            return Ok(false);
        }
        let mut inside = namespace.enter(&self.home, Connection::open)?.map_err(|error| format!("netlink: {error}"))?;
        let end = workload::find(&mut inside, link)?;
        Ok(end.is_some_and(|end| Some(end.index) == there.peer && end.peer == Some(there.index)))
    }

    /// Takes over a link of ours as it is found at the start; answers also what had to be mended, in words.
    pub(super) fn adopt(
        &mut self,
        name: &InterfaceName,
        link: &Link,
        there: &HostLink,
        missing_gateways: &[IpAddr],
    ) -> Result<(Built, Vec<String>), String> {
        // A namespace that cannot be opened by its path any more may live on, held by its processes: so does the link.
        let namespace = if link.handed_over { None } else { self.open(link, None).ok() };
        if !self.is_intact(there, link, namespace.as_ref())? {
            self.delete(there.index)?;
            let built = self.rebuild(name, link, None)?;
            return Ok((built, vec!["was not complete: it was built anew".to_string()]));
        }
        let mut said = there.differences(link, name);
        said.extend(missing_gateways.iter().map(|gateway| format!("lacked {gateway}")));
        let built = Built { index: there.index, namespace: namespace.map(|namespace| namespace.id()) };
        if !said.is_empty() {
            self.mend(there, name, link, built.namespace)?;
        }
        Ok((built, said))
    }

    /// Puts the host side right.
    pub(super) fn mend(
        &mut self,
        there: &HostLink,
        name: &InterfaceName,
        link: &Link,
        namespace: Option<NamespaceId>,
    ) -> Result<Built, String> {
        let mut requests = Vec::new();
        if !there.differences(link, name).is_empty() {
            requests.push(host::mend(there.index, name, link));
        }
        requests.push(host::set_up(name, link, self.ipv6));
        requests.extend(host::gateways(link).into_iter().map(|gateway| host::add_gateway(there.index, gateway)));
        for outcome in self.batch(&requests)? {
            outcome.map_err(|refusal| format!("cannot be put right: {refusal}"))?;
        }
        Ok(Built { index: there.index, namespace })
    }

    /// Deletes and waits: for what must be gone before something else is done.
    fn delete(&mut self, index: u32) -> Result<(), String> {
        reaper::delete(&mut self.connection, &[index]).into_iter().try_for_each(|(_, outcome)| outcome)
    }

    /// For CNI CHECK: both sides.
    pub(super) fn check(&mut self, name: &InterfaceName, link: &Link) -> Result<Vec<String>, String> {
        let Some(there) = self.find(name)? else {
            return Ok(vec![format!("interface {name} is missing on the host")]);
        };
        let mut said: Vec<String> =
            there.differences(link, name).into_iter().map(|what| format!("{name} on the host {what}")).collect();
        if link.handed_over {
            return Ok(said);
        }
        let namespace = self.open(link, None)?;
        let mut inside = namespace.enter(&self.home, Connection::open)?.map_err(|error| format!("netlink: {error}"))?;
        said.extend(workload::check(&mut inside, link, there.index)?);
        Ok(said)
    }
}
