//! What decides about a request besides the weights, while two releases share the traffic: a header that names a version,
//! and a cookie or a header by which a user stays with one release.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use orchestrate_core::ports::{PortError, PortResult};
use orchestrate_core::traffic::{Sticky, TrafficRules};

/// The hundredth part of all users that somebody belongs to, 0 to 99. Each release has as many of them as it has percent,
/// so that who came to a growing release stays there.
pub(crate) type Point = u8;

pub(crate) struct Rules {
    told: TrafficRules,
    sticky: Option<StickyBy>,
    force: Option<HeaderName>,
}

enum StickyBy {
    Cookie(String),
    Header(HeaderName),
}

/// What a request says about its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    At(Point),
    /// It gets one, and a cookie that says so.
    New,
    /// It takes its turn, as any request without rules.
    Any,
}

impl Rules {
    pub fn new(told: TrafficRules) -> PortResult<Arc<Self>> {
        let header = |name: &str| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| PortError::failed(format!("{name:?} is not the name of a header")))
        };
        let sticky = match &told.sticky {
            Some(Sticky::Cookie(name)) if is_cookie_name(name) => Some(StickyBy::Cookie(name.clone())),
            Some(Sticky::Cookie(name)) => {
                return Err(PortError::failed(format!("{name:?} is not the name of a cookie")));
            }
            Some(Sticky::Header(name)) => Some(StickyBy::Header(header(name)?)),
            None => None,
        };
        let force = told.force_header.as_deref().map(header).transpose()?;
        Ok(Arc::new(Self { told, sticky, force }))
    }

    /// As it came in, to be written down.
    pub fn told(&self) -> &TrafficRules {
        &self.told
    }

    /// The version that the request wants to be answered by.
    pub fn forced<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        headers.get(self.force.as_ref()?).map(HeaderValue::as_bytes)
    }

    pub fn standing(&self, headers: &HeaderMap) -> Standing {
        match &self.sticky {
            Some(StickyBy::Cookie(name)) => {
                point_in_cookies(headers, name).map_or(Standing::New, Standing::At)
            }
            Some(StickyBy::Header(name)) => {
                headers.get(name).map_or(Standing::Any, |value| Standing::At(point_of(value.as_bytes())))
            }
            None => Standing::Any,
        }
    }

    /// The `Set-Cookie` by which a new user is known again.
    pub fn cookie(&self, point: Point) -> Option<HeaderValue> {
        let Some(StickyBy::Cookie(name)) = &self.sticky else { return None };
        HeaderValue::try_from(format!("{name}={point}; Path=/; HttpOnly; SameSite=Lax")).ok()
    }
}

/// A token, as RFC 6265 has it.
fn is_cookie_name(name: &str) -> bool {
    // The characters of a header's name are those of a token, but the parser also turns them to lower case.
    !name.is_empty() && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn point_in_cookies(headers: &HeaderMap, name: &str) -> Option<Point> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(given, _)| *given == name)?;
    value.trim_matches('"').parse().ok().filter(|point| *point < 100)
}

/// The same for the same value in every proxy and for ever: FNV-1a, and a last mixing (of SplitMix64) because similar
/// values would lie together otherwise.
fn point_of(value: &[u8]) -> Point {
    let hash = value.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u8::try_from((hash ^ (hash >> 31)) % 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(sticky: Sticky) -> Arc<Rules> {
        Rules::new(TrafficRules { sticky: Some(sticky), force_header: None }).unwrap()
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_cookie_says_where_its_user_belongs_and_anything_else_makes_a_new_one() {
        let rules = rules(Sticky::Cookie("canary".into()));
        assert_eq!(rules.standing(&with("cookie", "a=1; canary=42; b=2")), Standing::At(42));
        for other in ["a=1", "canary=100", "canary=-1", "canary=x", "canaryx=4", ""] {
            assert_eq!(rules.standing(&with("cookie", other)), Standing::New, "{other}");
        }
        let mut split = with("cookie", "a=1");
        split.append(header::COOKIE, HeaderValue::from_static("canary=7"));
        assert_eq!(rules.standing(&split), Standing::At(7));
    }

    #[test]
    fn headers_are_spread_evenly_and_the_same_one_always_comes_to_the_same_point() {
        let rules = rules(Sticky::Header("X-User".into()));
        let mut seen = [0_u32; 100];
        for user in 0..100_000 {
            let Standing::At(point) = rules.standing(&with("x-user", &user.to_string())) else { panic!() };
            seen[usize::from(point)] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!(rules.standing(&with("x-user", "ada")), rules.standing(&with("x-user", "ada")));
        assert_eq!(rules.standing(&HeaderMap::new()), Standing::Any);
    }

    #[test]
    fn names_that_cannot_be_sent_are_refused() {
        for bad in ["", "a b", "a=b", "ä"] {
            let cookie = TrafficRules { sticky: Some(Sticky::Cookie(bad.into())), force_header: None };
            assert!(Rules::new(cookie).is_err(), "{bad}");
            let forced = TrafficRules { sticky: None, force_header: Some(bad.into()) };
            assert!(Rules::new(forced).is_err(), "{bad}");
        }
    }
}
