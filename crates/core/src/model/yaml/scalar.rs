//! What a plain scalar means: the core schema of YAML 1.2.

pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Decimal, `0x` hexadecimal, `0o` octal.
pub fn integer(text: &str) -> Option<i128> {
    let digits = |digits: &str, radix| match digits.starts_with(['+', '-']) {
        true => None,
        false => i128::from_str_radix(digits, radix).ok(),
    };
    if let Some(rest) = text.strip_prefix("0x") {
        return digits(rest, 16);
    }
    if let Some(rest) = text.strip_prefix("0o") {
        return digits(rest, 8);
    }
    match text.strip_prefix('-') {
        Some(rest) => digits(rest, 10).map(|value| -value),
        None => digits(text.strip_prefix('+').unwrap_or(text), 10),
    }
}

/// A finite number.
pub fn number(text: &str) -> Option<f64> {
    let looks_numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|b| b.is_ascii_digit());
    match integer(text) {
        Some(value) => Some(value as f64),
        None if looks_numeric => text.parse().ok().filter(|value: &f64| value.is_finite()),
        None => None,
    }
}

/// Whether a plain scalar is something else than text.
pub fn is_typed(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL") || boolean(text).is_some() || number(text).is_some()
}

/// In words, for `expected ..., found ...`.
pub fn describe(text: &str, plain: bool) -> String {
    if plain && boolean(text).is_some() {
        format!("the truth value {text}")
    } else if plain && number(text).is_some() {
        format!("the number {text}")
    } else {
        format!("the text \"{text}\"")
    }
}
