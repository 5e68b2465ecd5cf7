//! Errors as the CNI specification wants them printed.

use serde_json::{Value, json};

/// The versions whose calls and results we speak.
pub const SUPPORTED_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What errors are labelled with where the configuration names no version.
pub const DEFAULT_VERSION: &str = "1.0.0";

/// An error result: `code` as in the specification (1 version, 4 environment, 5 I/O, 6 decoding, 7 configuration,
/// 11 try again later, 50 no ADD possible: for STATUS).
#[derive(Debug)]
pub struct Failure {
    code: u32,
    msg: String,
    details: String,
}

impl Failure {
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Failure { code, msg: msg.into(), details: details.into() }
    }

    /// The same under another code.
    pub fn with_code(self, code: u32) -> Self {
        Failure { code, ..self }
    }

    pub fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.msg, "details": self.details})
    }
}
