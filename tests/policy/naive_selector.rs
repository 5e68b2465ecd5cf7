//! Selectors as the specification has them, for the third opinion: read and judged in one go, sharing nothing with the
//! engine. It takes for granted that they can be read.

use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// Whether a selector holds for these labels; `prefix`: what stands before the names that it says.
pub fn holds(selector: &str, labels: &Labels, prefix: &str) -> bool {
    let mut reader = Reader { rest: selector, labels, prefix };
    let value = reader.or();
    assert!(reader.rest.trim().is_empty(), "{selector}: what is `{}`?", reader.rest);
    value
}

/// "Precedence, loosest first: ||, &&, !"; read and judged in one go.
struct Reader<'a> {
    rest: &'a str,
    labels: &'a Labels,
    prefix: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let trimmed = self.rest.trim_start();
        match trimmed.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self) -> bool {
        let mut value = self.and();
        while self.take("||") {
            value |= self.and();
        }
        value
    }

    fn and(&mut self) -> bool {
        let mut value = self.not();
        while self.take("&&") {
            value &= self.not();
        }
        value
    }

    fn not(&mut self) -> bool {
        if self.take("!") {
            return !self.not();
        }
        if self.take("(") {
            let value = self.or();
            assert!(self.take(")"), "`)` before `{}`", self.rest);
            return value;
        }
        self.term()
    }

    fn label(&mut self) -> String {
        let trimmed = self.rest.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_alphanumeric() && !"_./-".contains(c)).unwrap_or(trimmed.len());
        self.rest = &trimmed[end..];
        trimmed[..end].to_string()
    }

    fn quoted(&mut self) -> String {
        let trimmed = self.rest.trim_start();
        let quote = trimmed.chars().next().expect("a text");
        let end = trimmed[1..].find(quote).expect("the end of the text") + 1;
        self.rest = &trimmed[end + 1..];
        trimmed[1..end].to_string()
    }

    fn term(&mut self) -> bool {
        let name = self.label();
        let namespace = "projectcalico.org/namespace";
        if (name == "all" || name == "global" || name == "has") && self.take("(") {
            let value = match name.as_str() {
                "has" => {
                    let label = self.label();
                    self.labels.contains_key(&format!("{}{label}", self.prefix))
                }
                // Of namespaces: all() is who has one, global() who has none.
                "all" => self.prefix != "pcns." || self.labels.contains_key(namespace),
                _ => !self.labels.contains_key(namespace),
            };
            assert!(self.take(")"), "`)` before `{}`", self.rest);
            return value;
        }
        let value = self.labels.get(&format!("{}{name}", self.prefix)).cloned();
        let operators = ["==", "!=", "contains", "starts", "ends", "not", "in"];
        let operator = operators.into_iter().find(|operator| self.take(operator)).expect("an operator");
        let second = [("starts", "with"), ("ends", "with"), ("not", "in")].into_iter().find(|(it, _)| *it == operator);
        assert!(second.is_none_or(|(_, word)| self.take(word)), "what is `{operator}{}`?", self.rest);
        if operator == "in" || operator == "not" {
            assert!(self.take("{"), "`{{` before `{}`", self.rest);
            let mut found = false;
            while !self.take("}") {
                let wanted = self.quoted();
                found |= value.as_ref() == Some(&wanted);
                self.take(",");
            }
            return found == (operator == "in");
        }
        let wanted = self.quoted();
        match operator {
            "==" => value == Some(wanted),
            // "!= and not in match where the label is absent", the others do not.
            "!=" => value != Some(wanted),
            "contains" => value.is_some_and(|value| value.contains(&wanted)),
            "starts" => value.is_some_and(|value| value.starts_with(&wanted)),
            _ => value.is_some_and(|value| value.ends_with(&wanted)),
        }
    }
}
