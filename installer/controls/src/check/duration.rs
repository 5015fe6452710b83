//! Durations as Go writes them: `5m`, `300s`, `1h30m0s`, `1.5h`.

/// Nanoseconds of a Go duration; `None` where the text is not one.
pub fn nanoseconds(text: &str) -> Option<i128> {
    if text == "0" {
        return Some(0);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(length);
        total = total.checked_add(scaled(number, unit_nanoseconds(unit)?)?)?;
        rest = next;
    }
    Some(if negative { -total } else { total })
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number times a unit, without floating point.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut step = unit;
    for digit in fraction.chars() {
        step /= 10;
        total = total.checked_add(i128::from(digit.to_digit(10)?).checked_mul(step)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_writes() {
        assert_eq!(nanoseconds("5m"), nanoseconds("300s"));
        assert_eq!(nanoseconds("5m0s"), nanoseconds("300s"));
        assert_eq!(nanoseconds("1.5h"), nanoseconds("1h30m"));
        assert_eq!(nanoseconds("0"), Some(0));
        for bad in ["", "5", "m", "5x", "-", ".m", "1.2.3s", "5m3"] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
    }
}
