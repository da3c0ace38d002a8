//! What a release does to data that outlives it, and whether a rollback would cross that.

use serde::{Deserialize, Serialize};

use crate::release::Release;

/// The versions of a data schema: those that a release can read, and the one that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The first and the last one, both included.
    pub reads: [u32; 2],
    pub writes: u32,
}

impl Schema {
    /// Refuses a range that is none, and a release that cannot read what it writes.
    pub fn new(reads: [u32; 2], writes: u32) -> Result<Self, String> {
        let schema = Self { reads, writes };
        if reads[0] > reads[1] {
            return Err(format!(
                "it reads from {} to {}; write the smaller number first",
                reads[0], reads[1]
            ));
        }
        if !schema.can_read(writes) {
            return Err(format!("it writes {writes} and reads only {} to {}", reads[0], reads[1]));
        }
        Ok(schema)
    }

    fn can_read(&self, written: u32) -> bool {
        (self.reads[0]..=self.reads[1]).contains(&written)
    }
}

/// What is declared; nothing, for most releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
    /// What it did that no other release can take back, in the words of its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
}

impl DataChange {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Two declarations of one release, which must not differ in what both of them say.
    pub fn and(self, other: Self) -> Result<Self, &'static str> {
        if self.schema.is_some() && other.schema.is_some() && self.schema != other.schema {
            return Err("schema");
        }
        let (one, two) = (&self.irreversible, &other.irreversible);
        if one.is_some() && two.is_some() && one != two {
            return Err("irreversible");
        }
        Ok(Self {
            schema: self.schema.or(other.schema),
            irreversible: self.irreversible.or(other.irreversible),
        })
    }
}

/// What came of looking at the data between two releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crossing {
    Nothing,
    /// The target declares nothing, so nobody knows whether it reads what was written.
    Unknown(String),
    /// The target cannot work with the data as they are now.
    Refused(String),
}

/// Whether going from `live` to `target` would cross a change of data. `since` went live after the target last did.
pub fn crossing(live: Option<&Release>, target: &Release, since: &[Release]) -> Crossing {
    let mut newest_first: Vec<&Release> = since.iter().filter(|release| release.id != target.id).collect();
    newest_first.sort_by_key(|release| std::cmp::Reverse(release.lineage));
    for release in &newest_first {
        if let Some(what) = &release.contents.data.irreversible {
            return Crossing::Refused(format!("{} cannot be taken back: {what}", release.version));
        }
    }
    let wrote = live.into_iter().filter(|live| live.id != target.id).chain(newest_first);
    let written = wrote.filter_map(|release| Some((release, release.contents.data.schema?.writes)));
    for (release, number) in written {
        let version = &release.version;
        match &target.contents.data.schema {
            Some(schema) if schema.can_read(number) => {}
            Some(Schema { reads: [first, last], .. }) => {
                return Crossing::Refused(format!(
                    "{version} writes schema {number}, and {} reads only {first} to {last}",
                    target.version
                ));
            }
            None => {
                return Crossing::Unknown(format!(
                    "{version} writes schema {number}, and {} does not say what it reads",
                    target.version
                ));
            }
        }
    }
    Crossing::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_none_is_refused() {
        assert_eq!(Schema::new([3, 5], 5), Ok(Schema { reads: [3, 5], writes: 5 }));
        assert!(Schema::new([5, 3], 4).unwrap_err().contains("smaller number first"));
        assert!(Schema::new([3, 5], 6).unwrap_err().contains("writes 6 and reads only 3 to 5"));
    }

    #[test]
    fn two_declarations_must_agree() {
        let schema = DataChange { schema: Some(Schema { reads: [1, 2], writes: 2 }), irreversible: None };
        let other = DataChange { schema: Some(Schema { reads: [1, 3], writes: 2 }), irreversible: None };
        let lost = DataChange { schema: None, irreversible: Some("drops a column".into()) };
        assert_eq!(schema.clone().and(other), Err("schema"));
        let both = schema.clone().and(lost.clone()).unwrap();
        assert_eq!((both.schema, both.irreversible.as_deref()), (schema.schema, Some("drops a column")));
        assert_eq!(schema.clone().and(schema.clone()), Ok(schema));
        assert_eq!(lost.clone().and(lost.clone()), Ok(lost));
    }
}
