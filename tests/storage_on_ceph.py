"""The storage tests against a real S3 server: a Ceph RADOS gateway that is started for them, and stopped.

`python tests/storage_on_ceph.py [--needed] [PYTEST ARGUMENTS]` runs `tests/storage`, or what they say.
It needs Debian's packages ceph-mon, ceph-osd, radosgw and ceph-common, no configuration and no service of
theirs: monitor, one storage process that keeps everything in memory, and gateway live in a temporary folder.
Where the packages are missing it says so and ends with 0, or with 1 where they are `--needed`.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = ("ceph", "ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
PACKAGES = "ceph-mon ceph-osd radosgw ceph-common"
NEEDED = "--needed"
READY_WITHIN_S = 120.0

CONFIGURATION = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port},v1:127.0.0.1:{old_port}]
run dir = {folder}
keyring = {folder}/$cluster.$name.keyring
log file =
mon cluster log file =
log to stderr = false
admin socket =
pid file =
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 500
mon data avail crit = 1
mon data avail warn = 1
osd objectstore = memstore
memstore device bytes = 2147483648
osd class load list = *
osd class default list = *
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1

[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {folder}/rgw
rgw enable usage log = false
rgw run sync thread = false
"""


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[dict[str, str]]:
    """The variables that lead to a running gateway; its processes end with the block."""
    ports = free_ports(3)
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    (folder / "rgw").mkdir()
    settings = {"fsid": str(uuid.uuid4()), "folder": folder}
    names = ("port", "mon_port", "old_port")
    conf = folder / "ceph.conf"
    conf.write_text(CONFIGURATION.format(**settings, **dict(zip(names, ports, strict=True))))
    with contextlib.ExitStack() as processes:
        start_monitor(conf, settings["fsid"], ports[1:], processes)
        start_storage(conf, processes)
        keys = start_gateway(conf, processes)
        url = f"http://127.0.0.1:{ports[0]}"
        await_answer(url)
        yield {
            "ETCHLINE_TEST_S3_ENDPOINT": url,
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
        }


def start_monitor(conf: Path, fsid: object, ports: list[int], processes: contextlib.ExitStack) -> None:
    """Makes the monitor's keys and its map, and starts it."""
    folder = conf.parent
    admin, mon, both = (folder / f"ceph.{name}.keyring" for name in ("client.admin", "mon.a", "first"))
    everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
    run(conf, "ceph-authtool", "-C", mon, "-g", "-n", "mon.", "--cap", "mon", "allow *")
    run(conf, "ceph-authtool", "-C", admin, "-g", "-n", "client.admin", *everything)
    shutil.copyfile(mon, both)
    run(conf, "ceph-authtool", both, "--import-keyring", admin)
    address = f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"
    run(conf, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, folder / "map")
    run(conf, "ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "map", "--keyring", both)
    start(processes, conf, "ceph-mon", "-i", "a")
    run(conf, "ceph", "-s")


def start_storage(conf: Path, processes: contextlib.ExitStack) -> None:
    """Makes one storage process known to the monitor, and starts it."""
    identity = str(uuid.uuid4())
    key = run(conf, "ceph-authtool", "--gen-print-key").strip()
    told = json.dumps({"cephx_secret": key})
    run(conf, "ceph", "osd", "new", identity, "-i", "-", told=told)
    keyring = conf.parent / "ceph.osd.0.keyring"
    run(conf, "ceph-authtool", "-C", keyring, "-n", "osd.0", "--add-key", key)
    run(conf, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
    start(processes, conf, "ceph-osd", "-i", "0")


def start_gateway(conf: Path, processes: contextlib.ExitStack) -> dict[str, str]:
    """Starts the gateway; the keys of a user of it."""
    keyring = conf.parent / "ceph.client.rgw.keyring"
    rights = ("mon", "allow rw", "osd", "allow rwx")
    run(conf, "ceph", "auth", "get-or-create", "client.rgw", *rights, "-o", keyring)
    made = run(conf, "radosgw-admin", "user", "create", "--uid", "tester", "--display-name", "tester")
    start(processes, conf, "radosgw", "-n", "client.rgw")
    keys: dict[str, str] = json.loads(made)["keys"][0]
    return keys


def run(conf: Path, *command: object, told: str | None = None) -> str:
    """What a command prints; a monitor that is not up yet is waited for."""
    words = [str(word) for word in command]
    if words[0] in ("ceph", "ceph-mon", "ceph-osd", "radosgw-admin"):
        words[1:1] = ["-c", str(conf)]
    done = subprocess.run(
        words, input=told, capture_output=True, text=True, check=False, timeout=READY_WITHIN_S
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def start(processes: contextlib.ExitStack, conf: Path, *command: str) -> None:
    """Starts a program that runs until the stack is closed."""
    name, *words = command
    log = processes.enter_context((conf.parent / f"{name}.log").open("wb"))
    running = subprocess.Popen([name, "-c", str(conf), *words, "-f"], stdout=log, stderr=log)
    processes.callback(stop, running)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process; nothing of it is kept, so it need not tidy up."""
    process.kill()
    process.wait()


def await_answer(url: str) -> None:
    """Returns when the gateway answers, be it with a refusal."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"error: the gateway at {url} does not answer after {READY_WITHIN_S:.0f} s")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def main(arguments: list[str]) -> int:
    """Runs the tests; pytest's exit code."""
    needed = NEEDED in arguments
    chosen = [one for one in arguments if one != NEEDED] or ["tests/storage"]
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        print(f"no Ceph here ({missing[0]} is missing): sudo apt-get install {PACKAGES}", file=sys.stderr)
        return 1 if needed else 0
    with tempfile.TemporaryDirectory(prefix="ceph-") as folder, gateway(Path(folder)) as variables:
        print(f"Ceph's gateway runs at {variables['ETCHLINE_TEST_S3_ENDPOINT']}", file=sys.stderr)
        tests = [sys.executable, "-m", "pytest", "-q", *chosen]
        return subprocess.run(tests, cwd=ROOT, env={**os.environ, **variables}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
