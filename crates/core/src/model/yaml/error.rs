//! An error in a YAML file: where, in which object and field, what, and what mends it.

use std::fmt;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The file's name as the user gave it, or `-`.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// `IPPool pool-a`, `NetworkPolicy shop/allow-web`; `None` outside of any object.
    pub object: Option<String>,
    /// `spec.ingress[0].protocol`; empty for the object as a whole.
    pub field: String,
    /// What was found, and what was expected.
    pub what: String,
    pub mend: Option<String>,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.what)?;
        match &self.mend {
            Some(mend) => write!(f, " ({mend})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for YamlError {}

/// All of them, one a line.
pub fn render_errors(errors: &[YamlError]) -> String {
    errors.iter().map(YamlError::to_string).collect::<Vec<_>>().join("\n")
}
