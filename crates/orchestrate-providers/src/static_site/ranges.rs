//! `Range: bytes=…`, as far as it is answered: one range of a file (RFC 9110, section 14).

/// What a request wants of a content of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Also where the header is not understood, or asks for several ranges at once.
    All,
    /// The first and the last byte.
    Part(u64, u64),
    /// There is no such byte.
    Nothing,
}

pub fn wanted(header: &str, size: u64) -> Wanted {
    let Some(range) = header.trim().strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Wanted::All;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::All };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    match (first, last) {
        ("", "") => Wanted::All,
        ("", last) => match number(last) {
            None => Wanted::All,
            Some(0) => Wanted::Nothing,
            Some(_) if size == 0 => Wanted::Nothing,
            Some(count) => Wanted::Part(size.saturating_sub(count), size - 1),
        },
        (first, last) => match (number(first), last, number(last)) {
            (Some(first), "", _) if first < size => Wanted::Part(first, size - 1),
            (Some(first), _, Some(last)) if first <= last && first < size => {
                Wanted::Part(first, last.min(size - 1))
            }
            (Some(first), _, Some(last)) if first > last => Wanted::All,
            (Some(_), _, Some(_)) | (Some(_), "", None) => Wanted::Nothing,
            (None, _, _) | (Some(_), _, None) => Wanted::All,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_the_rfc_says() {
        for (header, wanted_part) in [
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("bytes=2-5", Wanted::Part(2, 5)),
            ("bytes=2-", Wanted::Part(2, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=5-500", Wanted::Part(5, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-20", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=99999999999999999999-", Wanted::All),
            ("lines=1-2", Wanted::All),
        ] {
            assert_eq!(wanted(header, 10), wanted_part, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted("bytes=-1", 0), Wanted::Nothing);
    }
}
