//! The connection to etcd: made when it is needed, from files that are read each time, so that a password or certificate
//! may be renewed; dropped when it failed.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use routenet_core::model::config::EtcdConfig;
use tokio::sync::Mutex;
use tonic::Code;

use crate::store::{Backoff, StoreError};

/// How long a call may take; and how long a member that says nothing keeps others waiting.
const PATIENCE: Duration = Duration::from_secs(3);
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How often a call is tried, at whichever member answers, and the pauses in between.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed at another member, or a little later.
    Passing(String),
    Final(StoreError),
}

/// The members of an etcd cluster, and a connection to whichever answers.
#[derive(Clone)]
pub(super) struct Members(Arc<Shared>);

struct Shared {
    config: EtcdConfig,
    connected: Mutex<Option<Client>>,
}

impl Members {
    pub fn new(config: EtcdConfig) -> Members {
        Members(Arc::new(Shared { config, connected: Mutex::default() }))
    }

    /// The connection that stands, or a new one.
    pub async fn client(&self) -> Result<Client, Failure> {
        let mut connected = self.0.connected.lock().await;
        if let Some(client) = &*connected {
            return Ok(client.clone());
        }
        let options = self.options().await?;
        let connecting = Client::connect(&self.0.config.endpoints, Some(options));
        let client = self.in_time(connecting).await?;
        *connected = Some(client.clone());
        Ok(client)
    }

    async fn options(&self) -> Result<ConnectOptions, Failure> {
        let config = &self.0.config;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(PATIENCE)
            .with_keep_alive(ALIVE_EVERY, PATIENCE)
            .with_keep_alive_while_idle(true);
        if let (Some(name), Some(file)) = (&config.username, &config.password_file) {
            let password = read(file, "store.passwordFile").await?;
            let password =
                String::from_utf8(password).map_err(|_| unreadable(file, "store.passwordFile", "no text"))?;
            options = options.with_user(name, password.trim_end_matches(['\n', '\r']));
        }
        if config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            let mut tls = TlsOptions::new();
            tls = match &config.ca_file {
                Some(file) => tls.ca_certificate(Certificate::from_pem(read(file, "store.caFile").await?)),
                None => tls.with_native_roots(),
            };
            if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
                let (cert, key) = (read(cert, "store.certFile").await?, read(key, "store.keyFile").await?);
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            options = options.with_tls(tls);
        }
        Ok(options)
    }

    /// The call's answer, unless it takes too long.
    pub async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(outcome) => outcome.map_err(|error| explain(&error)),
            Err(_) => Err(Failure::Passing(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Tries a call that may be repeated until it is answered, or has failed too often.
    pub async fn again<T, F>(&self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        for attempt in 1.. {
            let why = match call().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            // A connection whose token has expired, or that leads to a member without a leader, is not kept.
            self.disconnect().await;
            if attempt == ATTEMPTS {
                return Err(StoreError::Away(why));
            }
            tokio::time::sleep(backoff.pause()).await;
        }
        unreachable!("the last attempt answers")
    }

    pub async fn disconnect(&self) {
        *self.0.connected.lock().await = None;
    }
}

async fn read(file: &Path, field: &str) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(file).await.map_err(|error| unreadable(file, field, &error.to_string()))
}

fn unreadable(file: &Path, field: &str, why: &str) -> Failure {
    let file: PathBuf = file.into();
    Failure::Final(StoreError::Refused {
        what: format!("{field}: {}: {why}", file.display()),
        mend: "put the file there, readable to the agent, or correct the node's configuration".to_string(),
    })
}

pub(super) fn explain(error: &Error) -> Failure {
    let Error::GRpcStatus(status) = error else { return Failure::Passing(said(error)) };
    let refused = |mend: &str| {
        Failure::Final(StoreError::Refused { what: format!("etcd: {}", status.message()), mend: mend.to_string() })
    };
    match status.code() {
        Code::PermissionDenied => refused("give the user a role that may read and write below the prefix"),
        Code::InvalidArgument if status.message().contains("too many operations") => {
            refused("apply it in parts, or start etcd with a larger --max-txn-ops")
        }
        Code::InvalidArgument if status.message().contains("authentication failed") => {
            refused("correct store.username, or what stands in store.passwordFile")
        }
        Code::InvalidArgument if status.message().contains("user name is empty") => {
            refused("etcd wants a user: give store.username and store.passwordFile")
        }
        _ => Failure::Passing(said(error)),
    }
}

/// The error and what caused it: tonic's own words are short.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
