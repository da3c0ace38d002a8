//! What a release needs of another environment: that something is live there, of a version at least.

use std::cmp::Ordering;

use crate::database::{Database, EnvironmentRecord};
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, Version};
use crate::release::Release;

/// How two versions compare as numbers; `None` where one of them is not made of numbers.
pub fn compare(one: &Version, other: &Version) -> Option<Ordering> {
    Some(numbers(one)?.cmp_precedence(&numbers(other)?))
}

/// `1.4` and `v1.4.0` are the same; more than three numbers are none of ours.
fn numbers(version: &Version) -> Option<semver::Version> {
    let text = version.as_str();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let core = text.find(['-', '+']).unwrap_or(text.len());
    let missing = 2_usize.checked_sub(text[..core].matches('.').count())?;
    semver::Version::parse(&format!("{}{}{}", &text[..core], ".0".repeat(missing), &text[core..])).ok()
}

/// Whether a version is at least another: by numbers, else by the order in which they first went live.
fn reaches(have: &Release, least: &Version, known: Option<&Release>) -> std::result::Result<bool, String> {
    if have.version == *least {
        return Ok(true);
    }
    if let Some(order) = compare(&have.version, least) {
        return Ok(order != Ordering::Less);
    }
    let lineages = (have.lineage, known.and_then(|release| release.lineage));
    match lineages {
        (Some(have), Some(least)) => Ok(have >= least),
        _ => Err(format!(
            "{} and {least} are not made of numbers, and {least} was never live there, so nobody can tell which is older",
            have.version
        )),
    }
}

/// Every live release of another environment that would not work with this one in its place; those of `leaving` go as well.
pub(crate) async fn broken(
    db: &Database,
    environment: &EnvironmentRecord,
    target: &Release,
    leaving: &[EnvironmentName],
) -> Result<Vec<Error>> {
    let mut broken = Vec::new();
    if !environment.has_dependants {
        return Ok(broken);
    }
    let place = &environment.environment.name;
    let group = environment.environment.settings.group.as_deref();
    for dependant in db.list_dependants(place).await? {
        let needs = dependant.contents.settings.depends_on.get(place).and_then(Option::as_ref);
        if let Some(least) = needs.filter(|_| !leaving.contains(&dependant.environment)) {
            let why = match reaches(target, least, db.find_release(place, least).await?.as_ref()) {
                Ok(true) => continue,
                Ok(false) => format!("it needs {least} at least"),
                Err(why) => why,
            };
            broken.push(breaks(&dependant, place, &target.version, &why, group));
        }
    }
    Ok(broken)
}

fn breaks(
    dependant: &Release,
    environment: &EnvironmentName,
    target: &Version,
    why: &str,
    group: Option<&str>,
) -> Error {
    let Release { environment: place, version, .. } = dependant;
    let message = format!("{version} in {place} would not work with {target} in {environment}: {why}");
    let first = format!("take that back first: orchestrate deploy rollback --env {place}");
    Error::refused("ORC-0185", message).hint(match group {
        Some(group) => format!("{first}; or all of the group: orchestrate deploy rollback --group {group}"),
        None => first,
    })
}

/// Everything that a release needs and that is not live.
pub(crate) async fn unmet(db: &Database, release: &Release) -> Result<Vec<Error>> {
    let mut unmet = Vec::new();
    for (place, least) in &release.contents.settings.depends_on {
        let record = db.find_environment(place).await?;
        let live = match record.and_then(|record| record.live) {
            Some(live) => db.release(live.release).await?,
            None => None,
        };
        let why = match (&live, least) {
            (None, _) => "nothing is live there".to_owned(),
            (Some(_), None) => continue,
            (Some(live), Some(least)) => {
                match reaches(live, least, db.find_release(place, least).await?.as_ref()) {
                    Ok(true) => continue,
                    Ok(false) => format!("{} is live there", live.version),
                    Err(why) => why,
                }
            }
        };
        let Release { environment, version, .. } = release;
        let needs =
            least.as_ref().map_or_else(|| "something".to_owned(), |least| format!("{least} at least"));
        let message = format!("{version} in {environment} needs {needs} in {place}: {why}");
        unmet.push(
            Error::refused("ORC-0186", message)
                .hint(format!("deploy that first: orchestrate deploy --env {place} --version V")),
        );
    }
    Ok(unmet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(one: &str, other: &str) -> Option<Ordering> {
        compare(&one.parse().unwrap(), &other.parse().unwrap())
    }

    #[test]
    fn versions_of_numbers_compare_by_their_numbers() {
        assert_eq!(order("1.9", "1.10"), Some(Ordering::Less));
        assert_eq!(order("v1.4", "1.4.0"), Some(Ordering::Equal));
        assert_eq!(order("2", "1.99.99"), Some(Ordering::Greater));
        assert_eq!(order("1.4.0-rc.1", "1.4"), Some(Ordering::Less));
        assert_eq!(order("1.4.0+build.7", "1.4.0+build.8"), Some(Ordering::Equal));
    }

    #[test]
    fn others_do_not_compare() {
        for (one, other) in [("main-4f2a", "1.0"), ("1.2.3.4", "1.2.3.5"), ("2026-11-28", "1.0.0.0")] {
            assert_eq!(order(one, other), None, "{one} {other}");
        }
    }
}
