#!/usr/bin/env python3
"""The server's side of LFS by ssh alone (docs/proposals/ssh_adapter.md of git-lfs), as git-lfs 3.3 and 3.8 speak it.

FOLDER/objects has the objects; each command is a line in FOLDER/log; FOLDER/fault says what goes wrong."""
import hashlib, os, sys

FOLDER = "@FOLDER@"
OBJECTS = os.path.join(FOLDER, "objects")
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer


def fault():
    try:
        with open(os.path.join(FOLDER, "fault")) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def log(line):
    with open(os.path.join(FOLDER, "log"), "a") as file:
        file.write(line + "\n")


def read():
    """A packet: bytes, or "flush", "delim"; nothing at the end."""
    head = stdin.read(4)
    if len(head) < 4:
        return None
    size = int(head, 16)
    return {0: "flush", 1: "delim"}.get(size) or stdin.read(size - 4)


def request():
    """The lines before a delimiter, and the packets behind it."""
    parts, now = ([], []), 0
    while (packet := read()) != "flush":
        if packet is None:
            sys.exit(0)
        if packet == "delim":
            now = 1
        else:
            parts[now].append(packet)
    return [line.decode().rstrip("\n") for line in parts[0]], parts[1]


def data(chunk):
    stdout.write(b"%04x" % (len(chunk) + 4) + chunk)


def line(text):
    data(text.encode() + b"\n")


def answer(status, arguments=(), lines=None):
    line(f"status {status}")
    for argument in arguments:
        line(argument)
    if lines is not None:
        stdout.write(b"0001")
        for text in lines:
            line(text)
    stdout.write(b"0000")


def batch(lines):
    if fault().startswith("batch "):
        return answer(fault().split()[1], lines=["not today"])
    actions = []
    for oid, size in (text.decode().split()[:2] for text in lines):
        there = os.path.exists(os.path.join(OBJECTS, oid))
        action = "download" if there and sys.argv[2] == "download" else "noop" if there else "upload"
        action = "noop" if action == "upload" and sys.argv[2] == "download" else action
        actions.append(f"{oid} {size} {action} id=i-{oid[:8]} token=t-{oid[:8]} expires-in=60")
    answer(200, ["hash-algo=sha256"], actions)


def get(oid, arguments):
    # git-lfs 3.3 does not give back what it got with the batch.
    right = {f"id=i-{oid[:8]}", f"token=t-{oid[:8]}"}
    if not {a for a in arguments if not a.startswith("size=")} <= right:
        return answer(403, lines=["whose token is that?"])
    if fault().startswith("get "):
        return answer(fault().split()[1], lines=["not this one"])
    with open(os.path.join(OBJECTS, oid), "rb") as file:
        content = file.read()
    line("status 200")
    line(f"size={len(content)}")
    if fault() == "arguments":
        while True:
            line("x" * 60000)
    stdout.write(b"0001")
    if fault() == "endless":
        while True:
            data(b"\0" * 65516)
    if fault() == "cut":
        data(content[:1])
        stdout.flush()
        sys.exit(1)
    if fault() == "garbage":
        stdout.write(b"<html>")
    content = {"short": content[:-1], "other": b"\0" * len(content)}.get(fault(), content)
    for at in range(0, len(content), 65516):
        data(content[at : at + 65516])
    stdout.write(b"0000")


def put(oid, packets):
    content = b"".join(packets)
    if hashlib.sha256(content).hexdigest() != oid:
        return answer(400, lines=["another content"])
    with open(os.path.join(OBJECTS, oid), "wb") as file:
        file.write(content)
    answer(200)


log("start " + " ".join(sys.argv[1:]))
if fault() == "text":
    sys.exit("Invalid command: git-lfs-transfer")
if fault() == "banner":
    print("Welcome! This server has no LFS.", flush=True)
    sys.exit(0)
line("version=2" if fault() == "version" else "version=1")
stdout.write(b"0000")
while True:
    stdout.flush()
    [command, *arguments], behind = request()
    log(" ".join([command, *arguments]))
    match command.split():
        case ["version", _]:
            answer(200, lines=[])
        case ["batch"]:
            batch(behind)
        case ["get-object", oid]:
            try:
                get(oid, arguments)
            except BrokenPipeError:
                log("broken pipe")
                os._exit(1)
        case ["put-object", oid]:
            put(oid, behind)
        case ["verify-object", oid]:
            answer(200 if os.path.exists(os.path.join(OBJECTS, oid)) else 404)
        case ["quit"]:
            answer(200)
            stdout.flush()
            sys.exit(0)
        case _:
            answer(400, lines=["what?"])
