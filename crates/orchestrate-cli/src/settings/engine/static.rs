//! `static:` of an environment.

use orchestrate_core::environment::{EnvironmentSettings, Static};
use serde_json::{Value, json};

use crate::settings::keys;
use crate::settings::reader::{Field, Read};
use crate::settings::schema::{SPAN, any_text, boolean, list, mapping, text};
use crate::settings::values::span;

pub fn read(field: &Field<'_>, settings: &EnvironmentSettings) -> Read<Static> {
    let section = field.section(keys::STATIC)?;
    let mut site = Static::default();
    section.set("root", &mut site.root, inside)?;
    section.set("index", &mut site.index, inside)?;
    section.set("not_found", &mut site.not_found, |field| inside(field).map(Some))?;
    section.set("spa", &mut site.spa, Field::boolean)?;
    section.set("immutable", &mut site.immutable, |field| {
        field.items("a list of patterns")?.iter().map(inside).collect()
    })?;
    section.set("max_age", &mut site.max_age, |field| span(field).map(Some))?;
    section.set("symlink", &mut site.symlink, |field| absolute(field).map(Some))?;
    section.set("releases", &mut site.releases, |field| absolute(field).map(Some))?;
    if let Some(field) = section.get("not_found").filter(|_| site.spa) {
        return Err(
            field.bad_key("with `spa: true` the index answers what is not there; leave one of the two out")
        );
    }
    if let Some(field) = section.get("releases").filter(|_| site.symlink.is_none()) {
        return Err(
            field.bad_key("it is for a web server that serves a `symlink`; leave it out, or write both")
        );
    }
    if let Some(field) = section.get("symlink") {
        if settings.url.is_none() {
            return Err(field.bad_key(
                "whether the web server serves a release is seen at the environment's `url`; write for example \
                 `url: https://site.example`",
            ));
        }
        site.url.clone_from(&settings.url);
    }
    Ok(site)
}

fn inside(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| match Static::is_inside(text) {
        true => Ok(text.to_owned()),
        false => Err("is not a path inside of the site; write for example `404.html` or `assets/**`".into()),
    })
}

fn absolute(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| {
        let plain = text.strip_prefix('/').is_some_and(Static::is_inside);
        match plain {
            true => Ok(text.to_owned()),
            false => Err("is not a path from `/` on; write for example `/srv/site/current`".into()),
        }
    })
}

pub fn schema() -> Value {
    mapping(
        "How the files of a site are served.",
        &[],
        json!({
            "root": any_text("The directory of the artifact that is served; all of it, unless it is said."),
            "index": any_text("The file of a directory that answers for it."),
            "not_found": any_text("The file that answers, with status 404, where there is none."),
            "spa": boolean("Whether the index answers every path that is not that of a file."),
            "immutable": list("Paths whose content never changes, e.g. assets/**.", any_text("A pattern of paths.")),
            "max_age": text("How long other files than pages may be kept without asking again.", SPAN),
            "symlink": any_text("The link that a web server of yours serves."),
            "releases": any_text("Where releases are put for it."),
        }),
    )
}
