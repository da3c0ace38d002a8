//! The kinds of value that settings share: commands, spans, paths, addresses, variables.

use std::net::SocketAddr;

use orchestrate_core::time::Span;

use super::interpolate;
use super::reader::{Field, Read};

pub(super) fn command(field: &Field<'_>) -> Read<Vec<String>> {
    let items = field.items("a list of strings")?;
    let command: Vec<String> = items.iter().map(Field::text).collect::<Read<_>>()?;
    if command.is_empty() {
        return Err(
            field.bad_value("the command is empty; write for example `command: [\"./shop\", \"serve\"]`")
        );
    }
    if command[0].trim().is_empty() {
        return Err(items[0].bad_value("the program's name is empty"));
    }
    Ok(command)
}

/// Names with their values, as an instance's environment can hold them.
pub(super) fn variables<'a>(field: &Field<'a>) -> Read<Vec<(String, Field<'a>)>> {
    let mut variables = Vec::new();
    for (name, field) in field.entries()? {
        if !interpolate::is_variable_name(name) {
            return Err(
                field.bad_key("the name of a variable has letters, digits and `_`, and no digit first")
            );
        }
        if name == "PORT" || name.starts_with("ORCHESTRATE_") {
            return Err(field.bad_key("orchestrate sets this variable itself; choose another name"));
        }
        variables.push((name.to_owned(), field));
    }
    Ok(variables)
}

pub(super) fn listen(field: &Field<'_>) -> Read<Option<SocketAddr>> {
    field.parsed("an address", |text| match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Some(address)),
        Ok(_) => Err("has port 0; write the port that users reach, for example `127.0.0.1:8080`".into()),
        Err(_) => Err(
            "is not an IP address with a port; write for example `127.0.0.1:8080`, or `0.0.0.0:8080` for \
                       every interface"
                .into(),
        ),
    })
}

pub(super) fn span(field: &Field<'_>) -> Read<Span> {
    field.parsed("a span of time", |text| {
        text.parse().map_err(|_| {
            "is not a span of time up to a hundred years; write for example `100ms`, `30s`, `15m` or `1h30m`".into()
        })
    })
}

pub(super) fn span_above_zero(field: &Field<'_>) -> Read<Span> {
    let read = span(field)?;
    if read.is_zero() && !field.is_deferred() {
        return Err(field.bad_value("it must be longer than nothing"));
    }
    Ok(read)
}

pub(super) fn path(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| {
        if !text.starts_with('/') || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(
                "is not the path of a URL; it starts with `/` and has no spaces, for example `/healthz`"
                    .into(),
            );
        }
        if !text.is_ascii() {
            return Err("holds letters beyond ASCII; percent-encode them".into());
        }
        Ok(text.to_owned())
    })
}

/// An `http://` or `https://` address.
pub(super) fn web_address(field: &Field<'_>) -> Read<String> {
    field.parsed("a string", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if host.is_empty()
            || host.starts_with(':')
            || text.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err("is not the address of a web page; write for example `https://shop.example`".into());
        }
        Ok(text.to_owned())
    })
}
