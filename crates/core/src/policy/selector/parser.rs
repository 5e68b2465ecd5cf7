//! Reads a selector: `||` binds loosest, then `&&`, then `!`.

use std::collections::BTreeSet;

use super::{Expr, MAX_DEPTH, MAX_LABEL, MAX_LENGTH, Operator, SelectorError};

type Parsed<T> = Result<T, SelectorError>;

/// The text and how far it was read, in bytes; always on a character boundary.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Parsed<Expr> {
    if text.len() > MAX_LENGTH {
        return Err(SelectorError {
            position: 0,
            expected: format!("at most {MAX_LENGTH} bytes"),
            found: format!("{} bytes", text.len()),
            mend: Some("split it into several policies, or give the members a common label".into()),
        });
    }
    let mut cursor = Cursor { text, at: 0, depth: 0 };
    cursor.skip_spaces();
    if cursor.rest().is_empty() {
        return Ok(Expr::All);
    }
    let expr = cursor.alternatives()?;
    if cursor.rest().is_empty() { Ok(expr) } else { Err(cursor.trailing()) }
}

fn is_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

fn visible(c: char) -> String {
    if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `token` and the spaces after it, if it stands here.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.skip_spaces();
        }
        found
    }

    fn word(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !is_label(c)).unwrap_or(rest.len())]
    }

    /// Takes `word` and the spaces after it, if exactly it stands here.
    fn eat_word(&mut self, word: &str) -> bool {
        self.word() == word && self.eat(word)
    }

    fn error(&self, expected: impl Into<String>, mend: Option<String>) -> SelectorError {
        let rest = self.rest();
        let found = match (self.word(), rest.chars().next()) {
            (_, None) => "the end".to_string(),
            // What does not show could do harm to the terminal that shows it.
            ("", Some(_)) => format!("`{}`", rest.trim_end().chars().take(8).map(visible).collect::<String>()),
            (word, _) => format!("`{}`", word.chars().take(40).collect::<String>()),
        };
        SelectorError { position: self.text[..self.at].chars().count(), expected: expected.into(), found, mend }
    }

    /// The error where an expression was complete and something else follows.
    fn trailing(&self) -> SelectorError {
        let mend = match self.word().to_ascii_lowercase().as_str() {
            "and" => Some("write `&&`".to_string()),
            "or" => Some("write `||`".to_string()),
            _ if self.rest().starts_with('&') || self.rest().starts_with(',') => Some("write `&&`".to_string()),
            _ if self.rest().starts_with('|') => Some("write `||`".to_string()),
            _ if self.rest().starts_with(')') => Some("remove `)`, or open it with `(`".to_string()),
            _ => None,
        };
        self.error("`&&`, `||` or the end", mend)
    }

    fn alternatives(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.conjunction()?];
        while self.eat("||") {
            operands.push(self.conjunction()?);
        }
        Ok(Expr::or(operands))
    }

    fn conjunction(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.unary()?];
        while self.eat("&&") {
            operands.push(self.unary()?);
        }
        Ok(Expr::and(operands))
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let mut negative = false;
        while self.eat("!") {
            negative = !negative;
        }
        let expr = self.primary()?;
        Ok(if negative { expr.not() } else { expr })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        if self.rest().starts_with('(') {
            return self.parenthesised();
        }
        let start = self.at;
        let word = self.word();
        if word.is_empty() {
            return Err(self.error("a label, `has(`, `all()`, `!` or `(`", self.mend_of_start()));
        }
        if word.len() > MAX_LABEL {
            return Err(self.error(format!("a label of at most {MAX_LABEL} characters"), None));
        }
        self.eat(word);
        if self.rest().starts_with('(') { self.call(word, start) } else { self.comparison(word) }
    }

    fn mend_of_start(&self) -> Option<String> {
        match self.rest().chars().next()? {
            '\'' | '"' => Some("a label stands on the left, without quotes: LABEL == 'VALUE'".into()),
            '{' => Some("write LABEL in {'A', 'B'}".into()),
            _ => None,
        }
    }

    fn parenthesised(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("at most {MAX_DEPTH} nested parentheses"), None));
        }
        self.eat("(");
        let expr = self.alternatives()?;
        if !self.eat(")") {
            return Err(SelectorError { expected: "`)`, `&&` or `||`".into(), ..self.trailing() });
        }
        self.depth -= 1;
        Ok(expr)
    }

    /// What follows `NAME(`: `start` is where the name stands.
    fn call(&mut self, name: &str, start: usize) -> Parsed<Expr> {
        let nullary = match name {
            "has" => None,
            "all" => Some(Expr::All),
            "global" => Some(Expr::Global),
            _ => {
                let mend = match name.to_ascii_lowercase().as_str() {
                    "not" => "write `!(...)`".to_string(),
                    "exists" | "haz" | "hass" => "write `has(LABEL)`".to_string(),
                    "any" | "everything" => "write `all()`".to_string(),
                    lower if ["has", "all", "global"].contains(&lower) => format!("write `{lower}(`"),
                    _ => "known are has(LABEL), all() and global()".to_string(),
                };
                self.at = start;
                return Err(self.error("`has(`, `all()` or `global()`", Some(mend)));
            }
        };
        self.eat("(");
        let expr = match nullary {
            Some(expr) => expr,
            None => {
                let label = self.word();
                if label.is_empty() || label.len() > MAX_LABEL {
                    let quoted = self.rest().starts_with(['\'', '"']);
                    return Err(self.error("the name of a label", quoted.then(|| "write it without quotes".into())));
                }
                self.eat(label);
                Expr::Has(label.to_string())
            }
        };
        if self.eat(")") { Ok(expr) } else { Err(self.error("`)`", None)) }
    }

    /// What follows a label.
    fn comparison(&mut self, label: &str) -> Parsed<Expr> {
        let operator = if self.eat("==") {
            Operator::Equal
        } else if self.eat("!=") {
            Operator::NotEqual
        } else if self.eat_word("contains") {
            Operator::Contains
        } else if self.eat_word("starts") {
            self.expect_with("starts")?;
            Operator::StartsWith
        } else if self.eat_word("ends") {
            self.expect_with("ends")?;
            Operator::EndsWith
        } else if self.eat_word("in") {
            return self.set(label, false);
        } else if self.eat_word("not") {
            if !self.eat_word("in") {
                return Err(self.error("`in`", Some("write LABEL not in {'A', 'B'}".into())));
            }
            return self.set(label, true);
        } else {
            return Err(self.error(
                "`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`",
                Some(self.mend_of_operator(label)),
            ));
        };
        let value = self.string()?;
        Ok(Expr::Compare(label.to_string(), operator, value.to_string()))
    }

    fn mend_of_operator(&self, label: &str) -> String {
        let rest = self.rest();
        match self.word().to_ascii_lowercase().as_str() {
            "equals" | "is" | "eq" => "write `==`".into(),
            "notin" => "write `not in`".into(),
            "startswith" => "write `starts with`".into(),
            "endswith" => "write `ends with`".into(),
            "contain" | "includes" => "write `contains`".into(),
            "" if rest.starts_with('=') => "write `==`".into(),
            "" if rest.starts_with("<>") || rest.starts_with("~=") => "write `!=`".into(),
            _ => format!("to ask whether the label is there, write has({label})"),
        }
    }

    fn expect_with(&mut self, first: &str) -> Parsed<()> {
        if self.eat_word("with") { Ok(()) } else { Err(self.error("`with`", Some(format!("write `{first} with`")))) }
    }

    fn set(&mut self, label: &str, negative: bool) -> Parsed<Expr> {
        if !self.eat("{") {
            let mend = if self.rest().starts_with(['(', '[']) { "write braces" } else { "write {'A', 'B'}" };
            return Err(self.error("`{`", Some(mend.into())));
        }
        let mut values = BTreeSet::new();
        while !self.eat("}") {
            values.insert(self.string()?.to_string());
            if !self.eat(",") && !self.rest().starts_with('}') {
                return Err(self.error("`,` or `}`", None));
            }
        }
        Ok(Expr::one_of(label.to_string(), values, negative))
    }

    fn string(&mut self) -> Parsed<&'a str> {
        let rest = self.rest();
        let quote = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => {
                let word = self.word();
                let mend = (!word.is_empty()).then(|| format!("write it in quotes: '{word}'"));
                return Err(self.error("a string in quotes", mend));
            }
        };
        let Some(length) = rest[1..].find(quote) else {
            return Err(
                self.error(format!("a string that ends in `{quote}`"), Some(format!("close it with `{quote}`")))
            );
        };
        self.at += length + 2;
        self.skip_spaces();
        Ok(&rest[1..=length])
    }
}
