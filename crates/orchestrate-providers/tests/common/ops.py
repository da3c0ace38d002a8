#!/usr/bin/env python3
"""The commands of a custom provider, for tests: they run real processes, each under a keeper that starts it again.

The artifact has the programs (`serve`, `work`); `$STATE` has one file for each instance."""
import json, os, signal, socket, subprocess, sys, time, urllib.request

STATE = os.environ["STATE"]


def path(environment, name):
    return os.path.join(STATE, environment + "." + name)


def write(file, state):
    with open(file + ".next", "w") as out:
        json.dump(state, out)
    os.rename(file + ".next", file)


def read(file):
    try:
        with open(file) as text:
            return json.load(text)
    except FileNotFoundError:
        return None


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def keep(file):
    """Runs one instance for as long as it is not told to end."""
    state = read(file)
    child, ending = None, []
    signal.signal(signal.SIGTERM, lambda *_: (ending.append(1), child and child.send_signal(signal.SIGTERM)))
    while not ending:
        with open(file + ".log", "w") as log:
            child = subprocess.Popen(["./" + state["program"]], cwd=state["directory"], env={**os.environ, **state["env"]},
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        state.update(pid=child.pid, running=True)
        write(file, state)
        since = None
        while child.poll() is None:
            if ending and since is None:
                since = time.monotonic()
                child.send_signal(signal.SIGTERM)
            if since is not None and time.monotonic() - since > state["patience"]:
                child.kill()
            time.sleep(0.01)
        with open(file + ".log") as log:
            lines = log.read().strip().splitlines()
        how = "exited with status %d" % child.returncode if child.returncode >= 0 else "killed by signal %d" % -child.returncode
        state.update(running=False, restarts=state["restarts"] + 1, last_exit=": ".join([how] + lines[-1:]))
        if not ending:
            write(file, state)
            time.sleep(0.05)
    for name in (file + ".log", file):
        os.remove(name)


def start(ask):
    for one in ask["instances"]:
        file = path(ask["environment"], one["id"])
        if os.path.exists(file):
            continue
        web = "listen" in ask["processes"][one["process"]]
        env = {"ORCHESTRATE_INSTANCE": "custom", "ORCHESTRATE_VERSION": ask["version"]}
        port = None
        if web:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            env["PORT"] = str(port)
        write(file, {"id": one["id"], "process": one["process"], "port": port, "slot": ask["slot"],
                     "release": ask["release"], "version": ask["version"], "directory": ask["directory"], "env": env,
                     "program": "serve" if web else "work", "patience": ask["settings"]["stop_timeout_ms"] / 1000,
                     "restarts": 0, "running": False})
        keeper = subprocess.Popen([sys.executable, os.path.abspath(__file__), "keep", file], start_new_session=True, cwd="/",
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        write(file + ".keeper", {"pid": keeper.pid})
    return status(ask)


def stop(ask):
    for one in ask["instances"]:
        file = path(ask["environment"], one["id"])
        state, keeper = read(file), read(file + ".keeper")
        if keeper and (state is None or state["release"] == ask["release"]):
            while alive(keeper["pid"]):
                os.kill(keeper["pid"], signal.SIGTERM)
                time.sleep(0.02)
            os.remove(file + ".keeper")
    return {"ok": True}


def look(ask, state):
    told = {"id": state["id"], "process": state["process"], "version": state["version"], "restarts": state["restarts"]}
    if "last_exit" in state:
        told["last_exit"] = state["last_exit"]
    if not state["running"]:
        return {**told, "state": "backing_off" if state["restarts"] else "starting"}
    told["pid"] = state["pid"]
    if state["port"] is None:
        return {**told, "state": "ready"}
    told["address"] = "127.0.0.1:%d" % state["port"]
    try:
        url = "http://" + told["address"] + ask["settings"]["health_path"]
        well = urllib.request.urlopen(url, timeout=1).status == ask["settings"]["expected_status"]
    except OSError:
        well = False
    return {**told, "state": "ready" if well else "starting"}


def status(ask):
    here = []
    for name in sorted(os.listdir(STATE)):
        environment, _, rest = name.partition(".")
        if environment == ask["environment"] and "." not in rest:
            state = read(os.path.join(STATE, name))
            if state and (state["slot"], state["release"]) == (ask["slot"], ask["release"]):
                here.append(look(ask, state))
    return {"ok": True, "instances": here}


def shares():
    """Who has the traffic, where a file says that and a front goes by it."""
    return read(os.environ["TRAFFIC"]) or []


def switch(ask):
    write(os.environ["TRAFFIC"], ask["traffic"])
    return {"ok": True}


def with_weight(ask, answer):
    if "TRAFFIC" not in os.environ:
        return answer
    mine = [one["weight"] for one in shares() if (one["slot"], one["release"]) == (ask["slot"], ask["release"])]
    return {**answer, "weights": True, "weight": sum(mine)}


if sys.argv[1:2] == ["keep"]:
    keep(sys.argv[2])
else:
    ask = json.load(sys.stdin)
    assert ask["protocol"] == 1 and ask["verb"] == os.environ["ORCHESTRATE_VERB"]
    answer = {"start": start, "stop": stop, "status": status, "health": status, "switch": switch,
              "deploy": lambda _: {"ok": True}}
    print(json.dumps(with_weight(ask, answer[ask["verb"]](ask))))
