"""Does with real Salt what the launcher does natively, and prints what came of it as JSON.

Usage: judge.py FOLDER PROJECT…, where FOLDER is Salt's own and each PROJECT a root with one project at /srv/projects/p,
whose states write below PROJECT/out. That folder is removed afterwards.
"""

import base64
import gc
import json
import logging
import os
import shutil
import stat
import sys
import warnings

warnings.simplefilter("ignore")
os.environ.pop("SHELL", None)
os.umask(0o022)
logging.disable(logging.CRITICAL)

import salt.config
import salt.loader
import salt.loader.lazy
import salt.pillar
import salt.state


# States whose modules are loaded before the first project.
WARM = """
{% set x = salt['pillar.get']('x', 1) %}
a: {file.managed: [{name: OWN/warm/out/a}, {contents: x}, {makedirs: true}, {user: root}, {mode: 600}, {template: jinja}]}
b: {file.append: [{name: OWN/warm/out/a}, {text: x}]}
c: {file.symlink: [{name: OWN/warm/out/c}, {target: a}]}
d: {file.directory: [{name: OWN/warm/out/d}, {user: root}, {recurse: [user]}]}
e: {cmd.run: [{name: 'true'}, {unless: 'false'}, {watch: [file: a]}]}
"""


def tree(top):
    """Returns each path with its kind, mode, owner and content."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            owner = [status.st_uid, status.st_gid]
            if stat.S_ISLNK(status.st_mode):
                entry = ["link", 0, owner, os.readlink(path)]
            elif stat.S_ISDIR(status.st_mode):
                entry = ["folder", stat.S_IMODE(status.st_mode), owner, ""]
            else:
                with open(path, "rb") as file:
                    entry = ["file", stat.S_IMODE(status.st_mode), owner, base64.b64encode(file.read()).decode()]
            found[os.path.relpath(path, top)] = entry
    return found


class Judge:
    """One Salt for all projects, because it takes a second to load its modules. A link leads to the project's folders."""

    def __init__(self, own):
        self.own = own
        os.makedirs(f"{own}/top")
        conf = f"{own}/minion"
        with open(conf, "w", encoding="utf-8") as file:
            json.dump({"root_dir": own, "file_client": "local", "id": "judge", "log_level": "quiet"}, file)
        self.opts = salt.config.minion_config(conf)
        current = f"{own}/project"
        self.opts.update(
            file_client="local",
            file_roots={"base": [f"{current}/srv/projects/p/project/.salt"]},
            pillar_roots={"base": [f"{own}/top", f"{current}/srv/projects/p/pillar"]},
        )
        self.grains = salt.loader.grains(self.opts)
        self.opts["grains"] = self.grains
        warm = f"{own}/warm/srv/projects/p/project/.salt"
        os.makedirs(warm)
        os.makedirs(f"{own}/warm/srv/projects/p/pillar")
        with open(f"{warm}/1.sls", "w", encoding="utf-8") as file:
            file.write(WARM.replace("OWN", own))
        self.place(f"{own}/warm")
        self.high_state = salt.state.HighState(self.opts)
        self.high_state.push_active()
        self.judge(f"{own}/warm")

    def place(self, project):
        """Makes the project the current one, with a top.sls for the sample and the pillar."""
        if os.path.lexists(f"{self.own}/project"):
            os.unlink(f"{self.own}/project")
        os.symlink(project, f"{self.own}/project")
        shutil.rmtree(f"{self.own}/top")
        os.makedirs(f"{self.own}/top")
        sample = f"{project}/srv/projects/p/project/.salt/PILLAR.sample"
        names = []
        if os.path.exists(sample):
            shutil.copy(sample, f"{self.own}/top/sample.sls")
            names.append("sample")
        if os.path.exists(f"{project}/srv/projects/p/pillar/init.sls"):
            names.append("init")
        with open(f"{self.own}/top/top.sls", "w", encoding="utf-8") as file:
            json.dump({"base": {"*": names}}, file)

    def pillar(self, project):
        opts = dict(self.opts)
        opts["pillar_merge_lists"] = os.path.exists(f"{project}/merge-lists")
        return salt.pillar.get_pillar(opts, self.grains, opts["id"], "base").compile_pillar()

    def apart(self, project):
        """Judges in a process of its own, so that nothing is left of the project for the next one."""
        path = f"{self.own}/result"
        pid = os.fork()
        if pid == 0:
            try:
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(self.judge(project), file)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def judge(self, project):
        self.place(project)
        pillar = self.pillar(project)
        if pillar.get("_errors"):
            return {"pillar": None}
        state = self.high_state.state
        # Each loader has a pillar of its own, which is empty so far.
        for loader in gc.get_objects():
            if isinstance(loader, salt.loader.lazy.LazyLoader):
                for own in (loader.pack.get("__pillar__"), loader.opts.get("pillar")):
                    if isinstance(own, dict):
                        own.update(pillar)
        state.opts["pillar"] = pillar
        state.reset_run_num()
        state.mod_init, state.pre, state.active = set(), {}, set()
        self.high_state.iorder = 10000
        self.high_state.building_highstate = type(self.high_state.building_highstate)()
        self.high_state.avail = type(self.high_state.avail)(self.high_state)
        states = f"{project}/srv/projects/p/project/.salt"
        names = sorted(name[:-4] for name in os.listdir(states) if name[0].isdigit() and name.endswith(".sls"))
        high, errors = self.high_state.render_highstate({"base": names})
        ran = errors or state.call_high(high)
        if isinstance(ran, list):
            return {"errors": ran, "states": None}
        ran = sorted(ran.items(), key=lambda item: item[1]["__run_num__"])
        result = {
            "states": [
                [tag.split("_|-")[0] + "." + tag.split("_|-")[-1], item["name"], item["result"], bool(item["changes"])]
                for tag, item in ran
            ],
            "comments": [item["comment"] for _, item in ran],
            "tree": tree(f"{project}/out"),
        }
        shutil.rmtree(f"{project}/out", ignore_errors=True)
        return result


def main():
    own, *projects = sys.argv[1:]
    judge = Judge(own)
    print(json.dumps([judge.apart(project) for project in projects]))


main()
