"""Two sites of one group on this machine, each a process with its files in a folder of its own."""

import contextlib
import json
import os
import socket
import subprocess
import time

import nbd

LIMIT_SECONDS = 600
WHOLE = 4 << 30
BINARY = os.environ.get("TAPLINE_BIN", "")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """One of the two; its files are in a folder of its own."""

    def __init__(self, folder, name, port):
        self.name, self.port = name, port
        self.folder = f"{folder}/{name}"
        os.mkdir(self.folder)
        self.process = None

    def configure(self, role, peer, size, history, capacity):
        with open(f"{self.folder}/disk.raw", "wb") as file:
            if size <= WHOLE:
                # A file of a million extents takes minutes to remove.
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        with open(f"{self.folder}/site.yaml", "w", encoding="utf-8") as file:
            file.write(f"""site: {self.name}
data: {self.folder}/data
listen:
  nbd: ['unix:{self.folder}/nbd.sock']
  link: 'tcp:127.0.0.1:{self.port}'
  control: 'unix:{self.folder}/control.sock'
groups:
  - name: g
    role: {role}
    peer: {{ site: {peer.name}, address: 'tcp:127.0.0.1:{peer.port}' }}
    history: {history}
    journal: {{ capacity: {capacity}, segment_size: 64M }}
    disks: [{{ name: disk, size: {size}, backing: 'file:{self.folder}/disk.raw' }}]
""")

    def start(self):
        log = open(f"{self.folder}/log", "a", encoding="utf-8")
        self.process = subprocess.Popen(
            [BINARY, "site", "--config", f"{self.folder}/site.yaml"], stdout=log, stderr=log)
        until(lambda: self.group() is not None, f"{self.name} answers")

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def command(self, *words):
        done = subprocess.run(
            [BINARY, *words, "--json", "--control", f"unix:{self.folder}/control.sock"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stderr}")
        return json.loads(done.stdout)

    def group(self):
        with contextlib.suppress(RuntimeError):
            return self.command("status")["groups"][0]
        return None

    def connect(self):
        handle = nbd.NBD()
        handle.set_export_name("disk")
        handle.connect_unix(f"{self.folder}/nbd.sock")
        return handle

    def has_follower(self):
        group = self.group()
        return bool(group) and group["health"] == "ok" and group["link"]["state"] == "connected"

    def link_bytes(self):
        return self.group()["link"]["wire_bytes"]

    def has_peer_in_step(self):
        group = self.group()
        marks = group and group["watermarks"]
        return bool(group) and (group["link"] or {}).get("rpo_seconds") == 0 \
            and marks["stamped"] == marks.get("peer_durable")


def until(condition, what):
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {LIMIT_SECONDS} s: {what}")
        time.sleep(0.01)
