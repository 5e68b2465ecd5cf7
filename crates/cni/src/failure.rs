//! Errors as the CNI specification wants them printed.

use serde_json::{Value, json};

/// The versions whose calls and results we speak.
pub const SUPPORTED_VERSIONS: [&str; 2] = ["0.4.0", "1.0.0"];

/// What errors are labelled with where the configuration names no version.
pub const DEFAULT_VERSION: &str = "1.0.0";

/// An error result: `code` as in the specification (1 version, 4 environment, 5 I/O, 6 decoding, 7 configuration,
/// 11 try again later).
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

    pub fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.msg, "details": self.details})
    }
}
