//! What front-ends must find again after a restart: in the journal, beside the endpoints.

use std::sync::Arc;

use async_trait::async_trait;

use crate::frontend::{AttachError, Failed, Notes};
use crate::store::{Journal, JournalWrite};

/// The notes of one front-end.
pub struct JournalNotes {
    front_end: &'static str,
    journal: Arc<Journal>,
}

impl JournalNotes {
    pub fn new(front_end: &'static str, journal: Arc<Journal>) -> JournalNotes {
        JournalNotes { front_end, journal }
    }
}

#[async_trait]
impl Notes for JournalNotes {
    async fn write(&self, notes: Vec<(String, Option<String>)>) -> Result<(), AttachError> {
        let note = |(name, text)| JournalWrite::Note { front_end: self.front_end.to_string(), name, text };
        self.journal
            .record(notes.into_iter().map(note).collect())
            .await
            .map_err(|error| AttachError::new(Failed::TryAgain, error.to_string(), "routectl status says more"))
    }
}
