//! `orchestrate init`: a commented config file and its schema for editors.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use orchestrate_core::Error;
use orchestrate_core::name::is_plain_name;

use crate::args::{Global, Init};
use crate::exit::{Ended, Exit};
use crate::printer::Printer;
use crate::settings;

pub fn run(global: &Global, args: &Init, printer: &Printer) -> Ended {
    let config = global.config.clone().unwrap_or_else(|| PathBuf::from("orchestrate.yaml"));
    let service = match &args.service {
        Some(service) if !is_plain_name(service) => {
            return Err(Error::usage("ORC-0206", format!("{service:?} is not the name of a service"))
                .hint("use letters, digits, `.`, `_` and `-`")
                .into());
        }
        Some(service) => service.clone(),
        None => default_name(),
    };
    let schema = config.with_file_name("orchestrate.schema.json");
    let schema_text = serde_json::to_string_pretty(&settings::json_schema())
        .map_err(|error| Error::bug(format!("the schema cannot be written: {error}")))?;
    write(&config, &settings::template(&service), args.force)?;
    // The schema is ours alone, so it is always brought up to date.
    write(&schema, &(schema_text + "\n"), true)?;
    let written = serde_json::json!({ "config": config, "schema": schema });
    printer.result(&written, || {
        format!(
            "{} {} for service {service}, and {} for editors\nnext: edit it, then run `orchestrate deploy validate --env production`",
            printer.good("wrote"),
            config.display(),
            schema.display()
        )
    });
    Ok(Exit::DONE)
}

fn default_name() -> String {
    let directory = std::env::current_dir().unwrap_or_default();
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is_plain_name(&name) { name } else { "shop".to_owned() }
}

fn write(path: &Path, text: &str, overwrite: bool) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::refused("ORC-0126", format!("{} is there already", path.display()))
                .hint("it was left as it is; overwrite it with --force")
        }
        _ => Error::failed("ORC-0509", format!("{} cannot be written", path.display())).source(error),
    })
}
