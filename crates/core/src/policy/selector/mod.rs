//! The selector language of `projectcalico.org/v3`: parsed once, kept in a canonical form, matched against labels.
//!
//! Called by the readers of YAML (to refuse a bad one at the door) and by the policy compiler. Equal meanings that
//! differ in spelling only (order of values and operands, quotes, spaces, doubled negation) are equal values, so they
//! share one set in the kernel.

mod error;
mod parser;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

pub use error::SelectorError;

/// The longest selector that is read, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;
/// How deep parentheses may nest.
pub const MAX_DEPTH: usize = 64;
/// The longest label name, in bytes.
pub const MAX_LABEL: usize = 512;

/// Where a selector finds the value of a label.
pub trait LabelLookup {
    fn label(&self, name: &str) -> Option<&str>;
}

impl LabelLookup for BTreeMap<String, String> {
    fn label(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// An expression over labels, in canonical form; `Display` writes it so that it reads back as the same value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Expr);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Expr {
    All,
    /// `global()`: everything in a plain selector; what has no namespace in a namespace selector.
    Global,
    Has(String),
    Compare(String, Operator, String),
    /// Two values at least: one value is an equality.
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Not(Box<Expr>),
    /// Two operands at least, sorted, none of them an `And`.
    And(Vec<Expr>),
    /// Two operands at least, sorted, none of them an `Or`.
    Or(Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Operator {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

impl Operator {
    const fn text(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Contains => "contains",
            Operator::StartsWith => "starts with",
            Operator::EndsWith => "ends with",
        }
    }
}

/// A label, with a value or with any: see [`Selector::anchors`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    pub label: String,
    /// `None`: the label is present, whatever its value.
    pub value: Option<String>,
}

impl Selector {
    /// Reads a selector; the empty text is `all()`.
    ///
    /// # Errors
    /// Says at which byte what was expected, what stands there, and what mends it. At most [`MAX_LENGTH`] bytes and
    /// [`MAX_DEPTH`] nested parentheses are read.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        parser::parse(text).map(Selector)
    }

    /// `all()`.
    pub fn all() -> Selector {
        Selector(Expr::All)
    }

    /// `label == 'value'`.
    pub fn equal(label: &str, value: &str) -> Selector {
        Selector(Expr::Compare(label.to_string(), Operator::Equal, value.to_string()))
    }

    /// `has(label)`.
    pub fn has(label: &str) -> Selector {
        Selector(Expr::Has(label.to_string()))
    }

    /// `!self`.
    #[must_use]
    pub fn negated(self) -> Selector {
        Selector(self.0.not())
    }

    /// `self && other`.
    #[must_use]
    pub fn and(self, other: Selector) -> Selector {
        Selector(Expr::and(vec![self.0, other.0]))
    }

    /// Whether it is `all()`, the empty selector.
    pub fn is_all(&self) -> bool {
        self.0 == Expr::All
    }

    /// The selector as it stands in a `namespaceSelector`: its labels are those of the namespace (`pcns.LABEL` of the
    /// member), `all()` is whatever has a namespace, `global()` whatever has none.
    #[must_use]
    pub fn of_namespace(&self) -> Selector {
        Selector(self.0.behind(NAMESPACE_PREFIX, Some(NAMESPACE_LABEL)))
    }

    /// The selector as it stands in a `serviceAccountSelector`: its labels are those of the member's service account
    /// (`pcsa.LABEL` of the member).
    #[must_use]
    pub fn of_service_account(&self) -> Selector {
        Selector(self.0.behind(SERVICE_ACCOUNT_PREFIX, None))
    }

    /// `label in {values}`.
    pub fn one_of(label: &str, values: &[String]) -> Selector {
        Selector(Expr::one_of(label.to_string(), values.iter().cloned().collect(), false))
    }

    pub fn matches(&self, labels: &impl LabelLookup) -> bool {
        self.0.matches(labels)
    }

    /// The names of all labels that it looks at.
    pub fn label_names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.0.collect_names(&mut names);
        names
    }

    /// Labels of which whatever matches carries at least one; `None` where something without any label may match.
    /// An index by label needs to look at nothing else.
    pub fn anchors(&self) -> Option<Vec<Anchor>> {
        let mut anchors = self.0.anchors()?;
        anchors.sort();
        anchors.dedup();
        Some(anchors)
    }
}

impl Default for Selector {
    fn default() -> Self {
        Selector::all()
    }
}

impl Expr {
    fn not(self) -> Expr {
        match self {
            Expr::Not(inner) => *inner,
            other => Expr::Not(Box::new(other)),
        }
    }

    fn and(operands: Vec<Expr>) -> Expr {
        let flat = operands.into_iter().flat_map(|e| if let Expr::And(inner) = e { inner } else { vec![e] });
        Expr::of_operands(flat.collect(), Expr::And)
    }

    fn or(operands: Vec<Expr>) -> Expr {
        let flat = operands.into_iter().flat_map(|e| if let Expr::Or(inner) = e { inner } else { vec![e] });
        Expr::of_operands(flat.collect(), Expr::Or)
    }

    fn of_operands(mut operands: Vec<Expr>, combine: fn(Vec<Expr>) -> Expr) -> Expr {
        operands.sort();
        operands.dedup();
        if operands.len() == 1 { operands.swap_remove(0) } else { combine(operands) }
    }

    fn one_of(label: String, mut values: BTreeSet<String>, negative: bool) -> Expr {
        match (values.len(), negative) {
            (1, false) => Expr::Compare(label, Operator::Equal, values.pop_first().expect("one value")),
            (1, true) => Expr::Compare(label, Operator::NotEqual, values.pop_first().expect("one value")),
            (_, false) => Expr::In(label, values),
            (_, true) => Expr::NotIn(label, values),
        }
    }

    fn matches(&self, labels: &impl LabelLookup) -> bool {
        match self {
            Expr::All | Expr::Global => true,
            Expr::Has(label) => labels.label(label).is_some(),
            Expr::Compare(label, operator, wanted) => match (labels.label(label), operator) {
                (Some(value), Operator::Equal) => value == wanted,
                (Some(value), Operator::NotEqual) => value != wanted,
                (Some(value), Operator::Contains) => value.contains(wanted.as_str()),
                (Some(value), Operator::StartsWith) => value.starts_with(wanted.as_str()),
                (Some(value), Operator::EndsWith) => value.ends_with(wanted.as_str()),
                (None, operator) => *operator == Operator::NotEqual,
            },
            Expr::In(label, values) => labels.label(label).is_some_and(|value| values.contains(value)),
            Expr::NotIn(label, values) => labels.label(label).is_none_or(|value| !values.contains(value)),
            Expr::Not(inner) => !inner.matches(labels),
            Expr::And(operands) => operands.iter().all(|operand| operand.matches(labels)),
            Expr::Or(operands) => operands.iter().any(|operand| operand.matches(labels)),
        }
    }

    /// Over the labels behind the prefix; what has the place of which they are (`all()`) has the label `place`, if given.
    fn behind(&self, prefix: &str, place: Option<&str>) -> Expr {
        let prefixed = |label: &String| format!("{prefix}{label}");
        let each = |operands: &[Expr]| operands.iter().map(|operand| operand.behind(prefix, place)).collect();
        match (self, place) {
            (Expr::All, Some(place)) => Expr::Has(place.to_string()),
            (Expr::Global, Some(place)) => Expr::Has(place.to_string()).not(),
            (Expr::All | Expr::Global, None) => self.clone(),
            (Expr::Has(label), _) => Expr::Has(prefixed(label)),
            (Expr::Compare(label, operator, value), _) => Expr::Compare(prefixed(label), *operator, value.clone()),
            (Expr::In(label, values), _) => Expr::In(prefixed(label), values.clone()),
            (Expr::NotIn(label, values), _) => Expr::NotIn(prefixed(label), values.clone()),
            (Expr::Not(inner), _) => inner.behind(prefix, place).not(),
            (Expr::And(operands), _) => Expr::and(each(operands)),
            (Expr::Or(operands), _) => Expr::or(each(operands)),
        }
    }

    fn collect_names<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Expr::All | Expr::Global => {}
            Expr::Has(label) | Expr::Compare(label, ..) | Expr::In(label, _) | Expr::NotIn(label, _) => {
                names.insert(label);
            }
            Expr::Not(inner) => inner.collect_names(names),
            Expr::And(operands) | Expr::Or(operands) => operands.iter().for_each(|e| e.collect_names(names)),
        }
    }

    fn anchors(&self) -> Option<Vec<Anchor>> {
        let anchor = |label: &String, value: Option<&String>| Anchor { label: label.clone(), value: value.cloned() };
        match self {
            Expr::All | Expr::Global | Expr::Not(_) | Expr::NotIn(..) | Expr::Compare(_, Operator::NotEqual, _) => None,
            Expr::Compare(label, Operator::Equal, value) => Some(vec![anchor(label, Some(value))]),
            Expr::Has(label) | Expr::Compare(label, ..) => Some(vec![anchor(label, None)]),
            Expr::In(label, values) => Some(values.iter().map(|value| anchor(label, Some(value))).collect()),
            Expr::And(operands) => {
                operands.iter().filter_map(Expr::anchors).min_by_key(|a| a.iter().map(anchor_cost).sum::<usize>())
            }
            Expr::Or(operands) => {
                let each: Option<Vec<Vec<Anchor>>> = operands.iter().map(Expr::anchors).collect();
                Some(each?.into_iter().flatten().collect())
            }
        }
    }
}

/// A guess of how many carry the label: a value narrows more than mere presence, a namespace less than a label.
fn anchor_cost(anchor: &Anchor) -> usize {
    match (&anchor.value, anchor.label == NAMESPACE_LABEL) {
        (Some(_), false) => 1,
        (Some(_), true) => 4,
        (None, _) => 16,
    }
}

/// The label that every endpoint carries: the name of its namespace.
pub const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
/// The label that an endpoint with a service account carries: the account's name.
pub const SERVICE_ACCOUNT_LABEL: &str = "projectcalico.org/serviceaccount";
/// Before the labels of a member's service account.
pub const SERVICE_ACCOUNT_PREFIX: &str = "pcsa.";
/// Before the labels of a member's namespace.
pub const NAMESPACE_PREFIX: &str = "pcns.";
/// The labels that every namespace has: its name, under two names.
pub const NAMESPACE_NAME_LABELS: [&str; 2] = ["projectcalico.org/name", "kubernetes.io/metadata.name"];

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A string in the quotes that it does not contain; the grammar has no escapes, so it never contains both.
fn quoted(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let quote = if value.contains('\'') { '"' } else { '\'' };
    write!(f, "{quote}{value}{quote}")
}

fn braced(f: &mut fmt::Formatter<'_>, values: &BTreeSet<String>) -> fmt::Result {
    f.write_str("{")?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        quoted(f, value)?;
    }
    f.write_str("}")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, operands: &[Expr], between: &str| {
            for (index, operand) in operands.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                // `&&` binds tighter: only an `||` inside of it needs its parentheses.
                if matches!(operand, Expr::Or(_)) { write!(f, "({operand})")? } else { write!(f, "{operand}")? }
            }
            Ok(())
        };
        match self {
            Expr::All => f.write_str("all()"),
            Expr::Global => f.write_str("global()"),
            Expr::Has(label) => write!(f, "has({label})"),
            Expr::Compare(label, operator, value) => {
                write!(f, "{label} {} ", operator.text())?;
                quoted(f, value)
            }
            Expr::In(label, values) => {
                write!(f, "{label} in ")?;
                braced(f, values)
            }
            Expr::NotIn(label, values) => {
                write!(f, "{label} not in ")?;
                braced(f, values)
            }
            Expr::Not(inner) => match **inner {
                Expr::And(_) | Expr::Or(_) => write!(f, "!({inner})"),
                Expr::Has(_) | Expr::All | Expr::Global => write!(f, "!{inner}"),
                // Not needed by the grammar, but `!a == 'x'` misleads the reader.
                _ => write!(f, "!({inner})"),
            },
            Expr::And(operands) => joined(f, operands, " && "),
            Expr::Or(operands) => joined(f, operands, " || "),
        }
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
