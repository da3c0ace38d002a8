//! The JSON Schema of the config file, for editors: exactly the keys and the shapes that `load` takes.

use serde_json::{Value, json};

use super::{engine, environment, notifications, policy, strategy};

pub(super) const SPAN: &str = "(?:[0-9]+(?:ms|s|m|h|d))+";
const ADDRESS: &str = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}";
const TOKEN: &str = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}";
pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";
const VARIABLE: &str = "^(?!PORT$|ORCHESTRATE_)[A-Za-z_][A-Za-z0-9_]*$";

/// The schema, draft 2020-12.
pub fn json_schema() -> Value {
    let mut schema = mapping(
        "The config file of orchestrate.",
        &["service", "release", "environments"],
        json!({
            "service": text("The name of the service.", "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
            "release": release(),
            "max_artifact_size": text("The unpacked size above which an artifact is refused, e.g. 500MiB or 4GiB.", "[0-9]+[KMGT]iB"),
            "signing": mapping("Whose signature every artifact must have.", &["public_key"], json!({
                "public_key": text("The second line of a minisign.pub.", "RW[A-Za-z0-9+/]{54}"),
            })),
            "environments": named("Where the service runs, by name.", NAME, environment()),
            "notifications": list("Who is told, and of what.", notification()),
        }),
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("orchestrate.yaml");
    schema
}

fn release() -> Value {
    let git = mapping(
        "The tree of a git tag, branch or commit.",
        &["repository", "ref"],
        json!({
            "repository": any_text("A directory, relative to this file, or a URL that git knows."),
            "ref": any_text("A tag, branch or commit; {version} is filled in."),
        }),
    );
    let schema = mapping(
        "The versions of its data's schema.",
        &["reads", "writes"],
        json!({
            "reads": {
                "description": "The first and the last version that it can read.",
                "type": "array",
                "items": number("A version of the schema.", 0, u32::MAX),
                "minItems": 2,
                "maxItems": 2,
            },
            "writes": number("The version that it writes.", 0, u32::MAX),
        }),
    );
    let mut release = mapping(
        "Where a version's artifact comes from: one of artifact, image and git.",
        &[],
        json!({
            "artifact": any_text("A directory, .tar.gz, .tar.zst, .zip, or one executable; {version} is filled in."),
            "image": any_text("An image of a registry, for providers that run images; {version} is filled in."),
            "git": git,
            "schema": schema,
            "irreversible": any_text("What it does to data that no other release can take back, in one line."),
        }),
    );
    release["oneOf"] =
        json!([{ "required": ["artifact"] }, { "required": ["image"] }, { "required": ["git"] }]);
    release
}

/// What brings its own command needs none here.
fn environment() -> Value {
    let mut environment = common();
    for (key, schema) in engine::schemas() {
        environment["properties"][key] = schema;
    }
    let own = environment::PROVIDERS.iter().filter(|(_, kind)| environment::brings_its_own_command(*kind));
    let own: Vec<&str> = own.map(|(name, _)| *name).collect();
    environment["if"] = json!({ "properties": { "provider": { "enum": own } }, "required": ["provider"] });
    environment["else"] = json!({
        "properties": { "processes": { "additionalProperties": { "required": ["command"] } } },
    });
    environment
}

fn common() -> Value {
    mapping(
        "One environment.",
        &["processes"],
        json!({
            "type": word("What kind of place it is.", &names(environment::TYPES)),
            "provider": word("What runs the instances.", &names(environment::PROVIDERS)),
            "url": text("Where users reach it.", "https?://.+"),
            "release": release(),
            "processes": named("What runs, by process type.", NAME, process()),
            "strategy": strategy(),
            "health_check": health_check(),
            "drain": text("How long requests in flight may take to end once a release lost its traffic.", SPAN),
            "stop_timeout": text("How long after SIGTERM an instance is killed.", SPAN),
            "variables": variables("In the environment of every instance."),
            "secrets": variables("The same, kept encrypted and never printed."),
            "verify": super::verify_schema::verify(),
            "rollback": mapping("What happens when a release turns out bad.", &[], json!({
                "automatic": boolean("Whether a bad release is rolled back by itself."),
                "at_most_per_hour": number("How many automatic rollbacks there may be within an hour.", 1, environment::MOST_ROLLBACKS),
                "cool_down": text("How long after an automatic rollback there is no other one.", SPAN),
                "max_back": number("How many releases back people may go.", 1, policy::MOST_RELEASES),
                "max_age": text("How long ago the release may have been left that people go back to.", SPAN),
                "manual_at_most_per_hour": number("How many rollbacks people may ask for within an hour.", 1, environment::MOST_ROLLBACKS),
                "in_freeze": word("Whether people roll back in a freeze.", &names(policy::IN_FREEZE)),
            })),
            "requires_approval": boolean("Whether somebody else has to approve a deployment."),
            "approval": mapping("How a deployment is approved.", &[], json!({
                "count": number("How many people must.", 1, policy::MOST_APPROVERS),
                "by": list("Who may; everybody, if there is none.", any_text("A name.")),
                "valid_for": text("How long after it was asked for an approval can be given and used.", SPAN),
            })),
            "group": text("The group with which it can go back together.", NAME),
            "depends_on": depends_on(),
            "require_reason": boolean("Whether a deployment and a rollback must say why."),
            "freezes": list("When nothing new is deployed.", mapping("One freeze.", &["name"], json!({
                "name": any_text("What refusals call it."),
                "from": any_text("A day with a time or without, or HH:MM."),
                "to": any_text("The first moment after it; a day alone is meant whole."),
                "days": list("Days of the week.", word("A day.", &names(environment::DAYS))),
                "calendar": any_text("A file of iCalendar whose events are the times."),
                "dates": list("Whole days.", text("A day.", "[0-9]{4}-[0-9]{2}-[0-9]{2}")),
                "time_zone": time_zone(),
            }))),
            "checks": list("Commands that must succeed before a deployment.", mapping("One check.", &["name", "command"], json!({
                "name": any_text("Its name, once in an environment."),
                "command": command(),
                "timeout": text("How long it may take.", SPAN),
            }))),
            "hooks": hooks(),
            "user": user("As whom its processes, hooks and smoke tests run; needs root."),
            "limits": limits(),
            "no_new_privs": boolean("Whether they may not gain rights; true with a user, unless it is said."),
            "retention": mapping("How many old releases are kept; without it, every one.", &[], json!({
                "keep": number("The newest proven ones, kept however old they are.", 1, environment::MOST_KEPT),
                "max_age": text("How long the others are kept.", SPAN),
            })),
            "drill": mapping("When rollbacks are rehearsed.", &[], json!({
                "production": boolean("Whether drills are allowed in an environment of type production."),
                "schedule": text("When the daemon drills by itself: minute, hour, day, month and day of the week, as cron has them.", r"\S+(?:\s+\S+){4}"),
                "time_zone": text("The time zone of the schedule by its IANA name; UTC without it.", "[A-Za-z0-9_+/-]+"),
            })),
            "windows": list("When deployments are allowed.", mapping("One window.", &["from", "to"], json!({
                "days": list("Its days; every day, if there is none.", word("A day.", &names(environment::DAYS))),
                "from": text("Its first minute, HH:MM.", "[0-9]{1,2}:[0-9]{1,2}"),
                "to": text("The first minute after it, HH:MM.", "[0-9]{1,2}:[0-9]{1,2}"),
                "time_zone": time_zone(),
            }))),
        }),
    )
}

/// Names of environments, or each with a version.
fn depends_on() -> Value {
    json!({
        "description": "What its releases need of other environments.",
        "oneOf": [
            list("Environments in which something has to be live.", any_text("A name.")),
            {
                "type": "object",
                "additionalProperties": any_text("The version that has to be live there at least."),
            },
        ],
    })
}

fn time_zone() -> Value {
    any_text("Where the times are read off a clock, by its IANA name; UTC without.")
}

fn user(description: &str) -> Value {
    text(description, "[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}:[0-9]{1,10}")
}

fn limits() -> Value {
    mapping(
        "What the kernel gives at most.",
        &[],
        json!({
            "memory": text("Private memory of one process, e.g. 512MiB.", "[0-9]+[KMGT]iB"),
            "files": number("Files that one process may have open.", 1, u32::MAX),
            "processes": number("Processes and threads of its user on this machine.", 1, u32::MAX),
        }),
    )
}

fn hooks() -> Value {
    let one = |description: &str, more: Option<Value>| {
        let mut properties = json!({
            "command": command(),
            "timeout": text("After this it is ended, and has failed.", SPAN),
        });
        if let Some(more) = more {
            properties["on_failure"] = more;
        }
        mapping(description, &["command"], properties)
    };
    let means = word("What it means that it fails.", &names(super::hooks::IF_IT_FAILS));
    mapping(
        "Commands of the release, each run once in an operation.",
        &[],
        json!({
            "pre_deploy": one("Before anything is started or stopped.", None),
            "post_deploy": one("Once the release has the traffic and answered.", Some(means)),
            "pre_rollback": one("Before a rollback from the release takes its traffic.", None),
            "post_rollback": one("Once a rollback from the release was proven.", None),
            "on_failure": one("After a deployment of the release failed.", None),
        }),
    )
}

fn process() -> Value {
    mapping(
        "One process type.",
        &[],
        json!({
            "command": command(),
            "instances": number("How many of it run.", 1, environment::MOST_INSTANCES),
            "user": user("As whom it runs, where that differs from its environment."),
            "limits": limits(),
            "no_new_privs": boolean("Whether it may not gain rights, where that differs from its environment."),
            "listen": text("The address on which the proxy takes its requests; without it, it gets no traffic.", ADDRESS),
        }),
    )
}

fn strategy() -> Value {
    mapping(
        "How a new release takes the place of the one before.",
        &[],
        json!({
            "type": word("The way of deploying.", &names(strategy::STRATEGIES)),
            "warm_for": text("How long the release before stays warm (blue_green, canary).", SPAN),
            "steps": list("The shares of the traffic that a canary gets one after another, in percent, rising.", number("A share.", 1, 100)),
            "wait": text("How long a canary is watched at each step, or rolling rests after each batch.", SPAN),
            "batch": amount("How many instances of each process type are replaced at a time (rolling).", 1),
            "max_unavailable": amount("How many may be missing meanwhile (rolling).", 0),
            "max_surge": amount("How many there may be too many meanwhile (rolling).", 0),
            "sticky": sticky(),
            "force_header": text("A header whose value names the version that must answer, while there are two.", TOKEN),
        }),
    )
}

/// A count, or a part like `25%`.
fn amount(description: &str, least: u32) -> Value {
    json!({
        "description": description,
        "oneOf": [
            { "type": "integer", "minimum": least, "maximum": environment::MOST_INSTANCES },
            { "type": "string", "pattern": "^[0-9]{1,3}%$" },
        ],
    })
}

fn sticky() -> Value {
    let mut sticky = mapping(
        "By what a user stays with one release of a canary: one of cookie and header.",
        &[],
        json!({
            "cookie": text("The cookie that the proxy sets.", TOKEN),
            "header": text("A header that tells users apart.", TOKEN),
        }),
    );
    sticky["minProperties"] = json!(1);
    sticky["maxProperties"] = json!(1);
    sticky
}

fn health_check() -> Value {
    mapping(
        "When an instance is ready for traffic.",
        &[],
        json!({
            "path": text("Asked with GET.", "/.*"),
            "expected_status": number("The status of a good answer.", 200, 599),
            "timeout": text("How long one answer may take.", SPAN),
            "interval": text("The pause between two checks.", SPAN),
            "deadline": text("How long a started instance has to become ready.", SPAN),
        }),
    )
}

fn notification() -> Value {
    let of = |(name, kind): &(&str, notifications::Type)| {
        let properties = kind.keys.iter().map(|key| ((*key).to_owned(), channel_key(key, name)));
        mapping("One channel.", kind.required, Value::Object(properties.collect()))
    };
    json!({ "description": "One channel.", "oneOf": notifications::TYPES.iter().map(of).collect::<Vec<_>>() })
}

fn channel_key(key: &str, kind: &str) -> Value {
    match key {
        "type" => word("What kind of channel it is.", &[kind]),
        "url" => text("Where notices are posted.", "https?://.+"),
        "server" => text("The mail server, with its user and password.", "smtps?://.+"),
        "to" => list("Who gets it.", any_text("An address.")),
        "command" => command(),
        "timeout" => text("How long the command may take.", SPAN),
        "on" => list("Which notices.", word("A notice.", &names(notifications::KINDS))),
        "outcome" => list("Only these outcomes.", word("An outcome.", &names(notifications::OUTCOMES))),
        "environments" => list("Of which environments; of all, if there is none.", any_text("A name.")),
        "template" => any_text("What is said in place of the sentence."),
        "secret" => any_text("Signs what is sent."),
        "token" => any_text("The token of a bot."),
        "channel" => any_text("Where the bot posts."),
        "routing_key" => any_text("The key of the integration."),
        _ => any_text("Who it is from."),
    }
}

pub(super) fn mapping(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn named(description: &str, pattern: &str, value: Value) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "pattern": pattern },
        "additionalProperties": value,
        "minProperties": 1,
    })
}

fn variables(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "pattern": VARIABLE },
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

pub(super) fn list(description: &str, items: Value) -> Value {
    json!({ "description": description, "type": "array", "items": items })
}

pub(super) fn command() -> Value {
    json!({
        "description": "The program and its arguments, run without a shell.",
        "type": "array",
        "items": { "type": "string" },
        "minItems": 1,
    })
}

/// Text of a pattern, or with a `${NAME}` whose value the schema cannot know.
pub(super) fn text(description: &str, pattern: &str) -> Value {
    let pattern = format!(r"^(?:{pattern})$|\$\{{[A-Za-z_][A-Za-z0-9_]*\}}");
    json!({ "description": description, "type": "string", "pattern": pattern })
}

pub(super) fn any_text(description: &str) -> Value {
    json!({ "description": description, "type": "string", "minLength": 1 })
}

pub(super) fn word(description: &str, words: &[&str]) -> Value {
    json!({ "description": description, "type": "string", "enum": words })
}

pub(super) fn boolean(description: &str) -> Value {
    json!({ "description": description, "type": "boolean" })
}

pub(super) fn number(description: &str, least: u32, most: u32) -> Value {
    json!({ "description": description, "type": "integer", "minimum": least, "maximum": most })
}

pub(super) fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(name, _)| *name).collect()
}
