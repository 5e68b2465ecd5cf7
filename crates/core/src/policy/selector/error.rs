//! Why a text is no selector, and what mends it.

/// Where and why reading a selector stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: expected {expected}, found {found}{}", position + 1, mend_text(mend))]
pub struct SelectorError {
    /// Characters before the place, from 0.
    pub position: usize,
    pub expected: String,
    /// What stands there instead.
    pub found: String,
    /// What to write, where the mistake is a known one.
    pub mend: Option<String>,
}

fn mend_text(mend: &Option<String>) -> String {
    mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default()
}
