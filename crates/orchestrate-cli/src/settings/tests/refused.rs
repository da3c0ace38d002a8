//! The words of each refusal, as a person sees them: one snapshot, so that they can be read and judged together.

use super::{error_of, released, routed, with};

#[test]
fn each_refusal_says_what_where_and_what_to_write() {
    let mut all = String::new();
    for (title, text) in cases() {
        all.push_str(&format!("# {title}\n{}\n", error_of(&text)));
    }
    insta::assert_snapshot!("refusals", all);
}

fn cases() -> Vec<(&'static str, String)> {
    let mut cases = keys_and_types();
    cases.extend(values());
    cases.extend(providers());
    cases.extend(rollouts_and_engines());
    cases.extend(policies());
    cases.extend(not_yaml());
    cases
}

fn keys_and_types() -> Vec<(&'static str, String)> {
    vec![
        ("a typing error in a key", with("helth_check: { path: /healthz }")),
        ("a key that is near to none", with("rollback: { when: never }")),
        ("a typing error at the top level", with("").replace("environments:", "enviroments:")),
        ("a key of another style", with("health-check: { path: /healthz }")),
        ("a string for a list", with("").replace("[./shop]", "./shop")),
        ("a string for a mapping", with("strategy: recreate")),
        ("a number for a span", with("drain: 30")),
        ("a number for an address", with("").replace("[./shop]", "[./shop], listen: 8080")),
        ("a string for a boolean", with("rollback: { automatic: yes }")),
        ("a string for a number", with("").replace("[./shop]", "[./shop], instances: \"2\"")),
        ("a number in a command", with("").replace("[./shop]", "[./shop, 8080]")),
        ("a number for the service", with("").replace("shop\nrel", "12\nrel")),
        ("nothing for a mapping", with("variables:")),
        ("a duplicate key", with("drain: 5s\nurl: http://a\ndrain: 6s")),
        ("a missing key at the top level", "service: shop\n".into()),
        ("a missing key in a process type", with("").replace("command: [./shop]", "instances: 1")),
        ("a list for the file", "- service\n".into()),
        ("a key that is a number", with("variables: { 1: x }")),
    ]
}

fn values() -> Vec<(&'static str, String)> {
    let two = "  other:\n    processes: { web: { command: [./x], listen: \"0.0.0.0:80\" }, x: { command: [./x], listen: \"127.0.0.1:80\" } }\n";
    vec![
        ("an empty command", with("").replace("[./shop]", "[]")),
        ("no process types", with("").replace("{ web: { command: [./shop] } }", "{}")),
        ("zero instances", with("").replace("[./shop]", "[./shop], instances: 0")),
        ("an address without a port", with("").replace("[./shop]", "[./shop], listen: localhost")),
        ("one address twice", with("") + two),
        ("a bad span", with("drain: 5 minutes")),
        ("a span of nothing", with("health_check: { timeout: 0s }")),
        ("a bad environment name", with("").replace("production:", "../etc:")),
        ("a bad placeholder", with("").replace("dist }", "\"dist-{verison}\" }")),
        ("two sources of a release", with("").replace("dist }", "dist, git: { repository: ., ref: x } }")),
        ("a schema of one number", released("schema: { reads: 5, writes: 5 }")),
        ("a schema from high to low", released("schema: { reads: [5, 3], writes: 4 }")),
        ("a schema that it cannot read itself", released("schema: { reads: [3, 5], writes: 6 }")),
        ("nothing irreversible", released("irreversible: \" \"")),
        ("a bad status", with("health_check: { expected_status: 20 }")),
        ("a path without a slash", with("health_check: { path: healthz }")),
        ("a bad url", with("url: shop.example")),
        ("a bad day", with("windows: [{ days: [monday], from: \"09:00\", to: \"10:00\" }]")),
        ("a bad time of day", with("windows: [{ from: \"25:00\", to: \"10:00\" }]")),
        ("a schedule that is none", with("drill: { schedule: \"0 25 * * SUN\" }")),
        ("a schedule of words", with("drill: { schedule: every sunday at four }")),
        ("a schedule with seconds", with("drill: { schedule: \"0 0 4 * * SUN\" }")),
        ("a day that never comes", with("drill: { schedule: \"0 4 30 2 *\" }")),
        ("a time zone that is none", with("drill: { schedule: \"0 4 * * SUN\", time_zone: Europe/Berlim }")),
        ("a time zone of nothing", with("drill: { time_zone: Europe/Berlin }")),
        (
            "drills in production by themselves",
            with("type: production\ndrill: { schedule: \"0 4 * * SUN\" }"),
        ),
        ("a hook that does not exist", with("hooks: { predeploy: { command: [./migrate] } }")),
        (
            "a hook that may not be ignored",
            with("hooks: { pre_deploy: { command: [./migrate], on_failure: ignore } }"),
        ),
        ("a hook without a command", with("hooks: { pre_deploy: { timeout: 5m } }")),
        ("keeping nothing", with("retention: { keep: 0 }")),
        ("an empty window", with("windows: [{ from: \"10:00\", to: \"10:00\" }]")),
        ("warm instances of recreate", with("strategy: { type: recreate, warm_for: 5m }")),
        ("a share without a sign", with("verify: { bake: 1s, max_error_rate: 0.01 }")),
        ("a share above all", with("verify: { bake: 1s, max_error_rate: 101% }")),
        ("a check without a bake", with("verify: { max_error_rate: 1% }")),
        ("a bake longer than what stays warm", with("verify: { bake: 20m }")),
        ("a pattern that is none", with("verify: { bake: 1s, logs: [{ name: a, pattern: \"a(b\" }] }")),
        ("a pattern that is everywhere", with("verify: { bake: 1s, logs: [{ name: a, pattern: \"x*\" }] }")),
        ("a smoke test of nothing", with("verify: { bake: 1s, smoke: [{ name: a }] }")),
        ("a smoke test of nobody", with("verify: { bake: 1s, smoke: [{ name: a, http: { path: / } }] }")),
        (
            "a query without a limit",
            with(
                "verify: { bake: 1s, prometheus: { url: \"http://p\", queries: [{ name: a, query: up }] } }",
            ),
        ),
        ("a latency without a limit", with("verify: { bake: 1s, latency: {} }")),
        ("an unknown consequence", with("verify: { bake: 1s, on_bad: rolback }")),
        ("a variable of ours", with("variables: { PORT: 80 }")),
        ("a variable that is also a secret", with("variables: { A: x }\nsecrets: { A: y }")),
        ("a variable that is not set", with("variables:\n  A: x\n  B: \"a ${NOT_SET} b\"")),
        ("a variable for the version", with("").replace("dist }", "\"dist-${version}\" }")),
        ("a default in a reference", with("variables: { A: \"${A:-x}\" }")),
        ("a check twice", with("checks: [{ name: a, command: [x] }, { name: a, command: [y] }]")),
        ("a router without its socket", routed("router: { backends: { web: shop } }")),
        ("a socket that is none", routed("router: { haproxy: admin.sock, backends: { web: shop } }")),
        ("a backend of nothing", routed("router: { haproxy: /run/admin.sock, backends: { wbe: shop } }")),
        ("a process type without a backend", routed("router: { haproxy: /run/admin.sock, backends: {} }")),
        ("a backend that cannot be", routed("router: { haproxy: /run/admin.sock, backends: { web: a b } }")),
        (
            "a cookie behind HAProxy",
            routed(
                "strategy: { type: canary, sticky: { cookie: c } }\nrouter: { haproxy: /run/admin.sock, backends: { web: shop } }",
            ),
        ),
        (
            "a notice that does not exist",
            with("") + "notifications: [{ type: webhook, url: http://a, on: [rollbak] }]\n",
        ),
    ]
}

fn providers() -> Vec<(&'static str, String)> {
    let custom = |more: &str| with(&format!("provider: custom\ncustom: {{ {more} }}"));
    let site = |more: &str| with(&format!("provider: static\nstatic: {{ {more} }}"));
    let three = "start: [./o], stop: [./o], status: [./o]";
    vec![
        ("settings of static for processes", with("static: {}")),
        ("settings of custom for processes", with("custom: {}")),
        ("commands of custom that are not said", with("provider: custom")),
        ("a command of custom that is missing", custom("start: [./o], stop: [./o]")),
        ("a verb that does not exist", custom(&format!("{three}, restart: [./o]"))),
        ("a time limit of nothing", custom(&format!("{three}, timeouts: {{ start: 0s }}"))),
        ("a switch to nowhere", custom(&format!("{three}, switch: [./o]"))),
        ("a link to nowhere", site("symlink: /srv/site/current")),
        ("a link that depends on where we are", site("symlink: current")),
        ("releases without a link", site("releases: /srv/releases")),
        ("a page outside of the site", site("not_found: ../404.html")),
        ("a pattern outside of the site", site("immutable: [\"/assets/**\"]")),
        ("both pages for what is not there", site("spa: true, not_found: 404.html")),
    ]
}

/// An environment on docker, with this in its `docker`.
fn docker(settings: &str) -> String {
    with(&format!("provider: docker\ndocker: {{ {settings} }}")).replace("artifact: dist", "image: shop")
}

/// An environment on a swarm, with this in its `swarm`.
fn swarm(settings: &str) -> String {
    with(&format!("provider: swarm\nswarm: {{ {settings} }}")).replace("artifact: dist", "image: shop")
}

fn rollouts_and_engines() -> Vec<(&'static str, String)> {
    let notified = |channel: &str| with("") + &format!("notifications:\n  - {channel}\n");
    let channel = |kind: &str| notified(&format!("{{ type: {kind}, channel: ops }}"));
    vec![
        ("steps that do not rise", with("strategy: { type: canary, steps: [10, 50, 25] }")),
        ("a step twice", with("strategy: { type: canary, steps: [10, 10] }")),
        ("a step past 100", with("strategy: { type: canary, steps: [50, 120] }")),
        ("a step of nothing", with("strategy: { type: canary, steps: [0, 50] }")),
        ("no steps", with("strategy: { type: canary, steps: [] }")),
        ("steps of blue_green", with("strategy: { steps: [10] }")),
        ("sticky by nothing", with("strategy: { type: canary, sticky: {} }")),
        ("a header that cannot be", with("strategy: { type: canary, force_header: \"x version\" }")),
        ("a batch of nothing", with("strategy: { type: rolling, batch: 0 }")),
        ("a part past the whole", with("strategy: { type: rolling, batch: 120% }")),
        ("no room to replace anything", with("strategy: { type: rolling, max_surge: 0 }")),
        ("a batch of a canary", with("strategy: { type: canary, batch: 1 }")),
        ("the provider docker without an image", with("provider: docker")),
        (
            "an image without its provider",
            with("").replace("artifact: dist", "image: registry.internal/shop"),
        ),
        ("settings of docker elsewhere", with("docker: {}")),
        ("a port that is none", docker("port: 70000")),
        ("a network that is none", docker("networks: [\"a b\"]")),
        ("the machine's network and another", docker("networks: [host, back]")),
        ("a volume without a place", docker("volumes: [data]")),
        ("a volume in no absolute place", docker("volumes: [\"data:var\"]")),
        ("too little memory for a container", docker("memory: 1KiB")),
        ("no processors", docker("cpus: 0")),
        ("a health that nobody knows", docker("health: tcp")),
        ("settings of swarm elsewhere", with("swarm: {}")),
        ("a network that is no overlay", swarm("networks: [host]")),
        ("a constraint that is none", swarm("constraints: [\"role = worker\"]")),
        ("settings of kubernetes elsewhere", with("kubernetes: {}")),
        ("a namespace that is none", cluster("kubernetes: { namespace: My_Shop }")),
        ("a kubeconfig somewhere", cluster("kubernetes: { kubeconfig: kube/config }")),
        ("an amount that is none", cluster("kubernetes: { resources: { limits: { memory: 512MiB } } }")),
        ("a label of ours", cluster("kubernetes: { labels: { orchestrate.dev/slot: blue } }")),
        ("a container of no manifests", cluster("kubernetes: { container: shop }")),
        (
            "manifests for two process types",
            cluster("kubernetes: { manifests: [k8s.yaml] }")
                .replace("processes: {", "processes: { more: { command: [x] },"),
        ),
        ("root that is not root", cluster("kubernetes: { security: { run_as_user: 0 } }")),
        ("a capability that is none", cluster("kubernetes: { security: { add_capabilities: [CAP_KILL] } }")),
        (
            "rights that may be gained and may not",
            cluster("no_new_privs: true\nkubernetes: { security: { allow_privilege_escalation: true } }"),
        ),
        ("a pull policy that is none", cluster("kubernetes: { image_pull_policy: never }")),
        (
            "users told apart in a cluster",
            cluster("strategy: { type: canary, sticky: { cookie: c } }\nkubernetes: { route: shop }"),
        ),
        ("a status that no cluster takes", cluster("health_check: { expected_status: 418 }")),
        ("limits of the kernel in a cluster", cluster("limits: { files: 10 }")),
        ("a user by name in a cluster", cluster("user: shop")),
        ("a channel of an unknown type", channel("irc")),
        ("a key of another type", channel("teams")),
        ("a bot's channel without its token", channel("slack")),
        ("a slack with nothing", notified("{ type: slack }")),
        ("a bot's token without its channel", notified("{ type: slack, token: xoxb-1 }")),
        ("a pagerduty without its key", notified("{ type: pagerduty }")),
        ("mail to nobody", notified("{ type: email, server: smtp://mail, from: a@x, to: [] }")),
        ("mail from no address", notified("{ type: email, server: smtp://mail, from: ops, to: [a@x] }")),
        ("mail by a web server", notified("{ type: email, server: http://mail, from: a@x, to: [a@x] }")),
        ("an outcome that nobody knows", notified("{ type: teams, url: http://x, outcome: [bad] }")),
        (
            "a template with a word that no notice has",
            notified("{ type: teams, url: http://x, template: \"{{ service }}: {{ servise }}\" }"),
        ),
        ("a command that may take for ever", notified("{ type: command, command: [./tell], timeout: 1h }")),
        (
            "a template that cannot be read",
            notified("{ type: teams, url: http://x, template: \"{{ service\" }"),
        ),
        (
            "a channel of no environment here",
            notified("{ type: teams, url: http://x, environments: [prod] }"),
        ),
    ]
}

fn policies() -> Vec<(&'static str, String)> {
    let freeze = |what: &str| with(&format!("freezes: [{{ name: sale, {what} }}]"));
    vec![
        ("an approval that nobody asks for", with("approval: { count: 2 }")),
        (
            "more approvals than people",
            with("requires_approval: true\napproval: { count: 3, by: [ada, ben] }"),
        ),
        ("an approval that lasts no time", with("requires_approval: true\napproval: { valid_for: 0s }")),
        ("a freeze without a name", with("freezes: [{ from: 2026-12-19, to: 2027-01-04 }]")),
        ("a freeze without a time", freeze("time_zone: UTC")),
        ("a freeze without an end", freeze("from: 2026-12-19")),
        ("a freeze that ends before it starts", freeze("from: 2026-12-19, to: 2026-12-18")),
        ("a freeze of a day that is none", freeze("from: 2026-02-30, to: 2026-03-01")),
        ("a freeze from a day to an hour", freeze("from: 2026-12-19, to: \"10:00\"")),
        ("a freeze of days with an hour", freeze("dates: [2026-12-24], from: \"10:00\", to: \"11:00\"")),
        ("a freeze of no days", freeze("dates: []")),
        ("a calendar with a time", freeze("calendar: h.ics, from: \"16:00\"")),
        ("a freeze of half a week", freeze("days: [fri], from: \"16:00\"")),
        ("a zone that is none", freeze("days: [fri], time_zone: Europe/Berlim")),
        ("a word that rollbacks in a freeze do not know", with("rollback: { in_freeze: maybe }")),
        ("a group that is no name", with("group: the shop")),
        ("a need that is no environment", with("depends_on: [\"../api\"]")),
        ("a need of a version that is none", with("depends_on: { api: \"a b\" }")),
        ("a version that is a number", with("depends_on: { api: 1.4 }")),
        ("no way back at all", with("rollback: { max_back: 0 }")),
    ]
}

fn cluster(lines: &str) -> String {
    with(&format!("provider: kubernetes\n{lines}")).replace("artifact: dist", "image: shop")
}

fn not_yaml() -> Vec<(&'static str, String)> {
    vec![
        ("an empty file", String::new()),
        ("only comments", "# nothing\n".into()),
        ("a tab", with("strategy:\n\ttype: recreate")),
        ("an open bracket", with("url: [a")),
        ("an unknown alias", with("drain: *long")),
        ("two documents", with("") + "---\nservice: other\n"),
        ("a tag", with("url: !path x")),
    ]
}
