//! Who a container is. Docker's plugin protocol never says, so its API is asked, behind the answer to Join: Docker holds
//! its locks until then. It takes less time than the container's first process needs to start; until it is done nothing
//! passes in either direction.

use std::time::Duration;

use tracing::{info, warn};

use super::Driver;
use super::endpoints::NAMESPACE;
use super::now;
use super::state::{Change, EndpointNote, Rest, Who};
use crate::frontend::{Identity, Revision};

/// Between two questions: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A container's label that says in which namespace policies find it.
const NAMESPACE_LABEL: &str = "routenet.namespace";

impl Driver {
    /// All endpoints of whom an earlier run did not learn who they are.
    pub(super) fn identify_all(&self) {
        let unknown: Vec<String> = {
            let state = self.state();
            let is_unknown =
                |note: &EndpointNote| note.joined.is_some() && (note.who.is_none() || note.rests.is_some());
            state.endpoints.iter().filter(|(_, note)| is_unknown(note)).map(|(id, _)| id.clone()).collect()
        };
        unknown.into_iter().for_each(|id| self.identify(id));
    }

    /// Opens the endpoint as soon as it is known who it is.
    pub(super) fn identify(&self, endpoint_id: String) {
        let driver = self.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Err(why) = driver.identify_once(&endpoint_id).await {
                if pause == LAST_PAUSE {
                    driver.complain(Some(why));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            driver.complain(None);
        });
    }

    fn complain(&self, why: Option<String>) {
        let mut unanswered = self.0.unanswered.lock().expect("no panic while locked");
        if let Some(why) = why.as_ref().filter(|why| unanswered.as_ref() != Some(why)) {
            warn!(%why, "a container stays closed until Docker says who it is");
        }
        *unanswered = why;
    }

    /// Done when the endpoint is open, or gone.
    async fn identify_once(&self, endpoint_id: &str) -> Result<(), String> {
        let Some(note) = self.joined(endpoint_id) else { return Ok(()) };
        let Some(who) = self.ask(endpoint_id, &note.network_id).await? else {
            return Err("it does not know the endpoint yet".to_string());
        };
        if let Some(rest) = note.rests.as_ref().filter(|rest| rest.labels.as_ref() != Some(&who.labels)) {
            self.wait_for(rest, &who).await;
        }
        let _turn = self.0.amending.lock().await;
        // Asked anew: meanwhile ports may have been published, or the container may have gone.
        let Some(mut note) = self.joined(endpoint_id) else { return Ok(()) };
        let Some(key) = note.joined.as_ref().map(|joined| joined.key.clone()) else { return Ok(()) };
        let identity = Identity {
            namespace: who.labels.get(NAMESPACE_LABEL).cloned().unwrap_or_else(|| NAMESPACE.to_string()),
            name: who.name.clone(),
            labels: Some(who.labels.clone()),
        };
        let revision = Revision { identity: Some(identity), ..Revision::default() };
        self.0.hosts.workloads.revise(&key, revision).await.map_err(|error| error.to_string())?;
        info!(endpoint = %key, container = %who.name, "it is known who it is: open");
        (note.who, note.rests) = (Some(who), None);
        self.save(vec![Change::Endpoint(endpoint_id.to_string(), Some(note))]).await.map_err(|refusal| refusal.message)
    }

    fn joined(&self, endpoint_id: &str) -> Option<EndpointNote> {
        self.state().endpoints.get(endpoint_id).filter(|note| note.joined.is_some()).cloned()
    }

    async fn ask(&self, endpoint_id: &str, network_id: &str) -> Result<Option<Who>, String> {
        let endpoints = self.0.docker.endpoints(network_id).await?;
        let Some(container) = endpoints.get(endpoint_id) else { return Ok(None) };
        let found = self.0.docker.container(container).await?;
        Ok(found.map(|found| Who { container: container.clone(), name: found.name, labels: found.labels }))
    }

    /// Other nodes may still give the address its last holder's rights: its new one waits until they cannot.
    async fn wait_for(&self, rest: &Rest, who: &Who) {
        let left = rest.until.saturating_sub(now());
        if left > 0 {
            info!(container = %who.name, seconds = left, "its address had another holder a moment ago: closed so long");
            tokio::time::sleep(Duration::from_secs(left)).await;
        }
    }
}
