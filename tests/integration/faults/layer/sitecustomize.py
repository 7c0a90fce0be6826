"""The fault layer inside a child process: Python imports this before anything else, and it reads its rules from disk.

Only the standard library is imported here, and nothing is patched unless LK_FAULTS or LK_MODEL is set. What the rules
mean is told in tests/integration/faults/faults.py, which writes them.
"""

# mypy: ignore-errors
# It stands in for functions of any signature, and importing `typing` here would cost each process.

import os
import sys


def _fault_layer() -> None:
    import _thread
    import builtins
    import errno
    import io
    import signal
    import time

    names = ("open", "link", "replace", "rename", "listdir", "scandir", "fsync", "unlink", "remove", "mkdir", "stat")
    real = {name: getattr(os, name) for name in (*names, "lstat")}
    real_open, real_write, real_close, real_lseek, real_readlink = io.open, os.write, os.close, os.lseek, os.readlink
    root = os.environ["LK_FAULTS"]
    rules_dir, hits_dir = root + "/rules", root + "/hits"
    seen: dict[str, dict] = {}  # Rules by the name of their file.
    state: dict = {"by_op": {}, "looked": 0.0}
    refreshing = _thread.allocate_lock()

    def refresh(every: float = 0.02) -> None:
        """Look which rules there are, at most every 20 ms: their names say it, as a rule never changes."""
        now = time.monotonic()
        if now - state["looked"] < every or not refreshing.acquire(blocking=False):
            return
        try:
            state["looked"] = now
            read_rules()
        finally:
            refreshing.release()

    def read_rules() -> None:
        try:
            names = {name for name in real["listdir"](rules_dir) if name.endswith(".json")}
        except OSError:
            names = set()
        if names == seen.keys():
            return
        import json

        for name in names - seen.keys():
            try:
                with real_open(f"{rules_dir}/{name}", encoding="utf-8") as file:
                    seen[name] = json.load(file)
            except FileNotFoundError:
                continue
        for name in seen.keys() - names:
            del seen[name]
        by_op: dict[str, list[dict]] = {}
        for name in sorted(seen):
            by_op.setdefault(seen[name]["op"], []).append(seen[name])
        state["by_op"] = by_op  # Other threads keep what they are reading.

    def rules_of(op: str) -> list[dict]:
        refresh()
        return state["by_op"].get(op, ())

    def counted(name: str) -> int:
        """Append a line to a file that all processes share; which line it became says how often it happened before."""
        handle = real["open"](f"{hits_dir}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            line = b"%10d\n" % os.getpid()
            real_write(handle, line)
            return real_lseek(handle, 0, os.SEEK_CUR) // len(line)
        finally:
            real_close(handle)

    def in_force(rule: dict) -> bool:
        try:
            real["stat"](f"{rules_dir}/{rule['name']}.json")
        except OSError:
            return False
        return True

    def due(rule: dict) -> bool:
        """Whether the fault is to happen at this match, and note that it does."""
        if not in_force(rule):
            return False
        match = counted(rule["name"] + ".matches")
        if match <= rule["after"] or (rule["times"] is not None and match > rule["after"] + rule["times"]):
            return False
        counted(rule["name"] + ".reached")
        return True

    def the_error(rule: dict, path: object) -> BaseException:
        number = getattr(errno, rule["error"], None)
        if number is None:
            return getattr(builtins, rule["error"])("a fault of the tests")
        return OSError(number, os.strerror(number), path)

    def happen(rule: dict, path: object) -> None:
        """What can be done at the entry of any operation."""
        if rule["do"] == "error":
            raise the_error(rule, path)
        if rule["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        elif rule["do"] == "abort":
            os.abort()
        elif rule["do"] == "sleep":
            time.sleep(rule["seconds"])
        elif rule["do"] == "wait":
            while in_force(rule):
                time.sleep(0.005)

    def text_of(path: object, dir_fd: "int | None" = None) -> "str | None":
        try:
            if isinstance(path, int):
                return real_readlink(f"/proc/self/fd/{path}")
            text = os.fsdecode(path)
            if not text.startswith("/"):
                folder = os.getcwd() if dir_fd is None else real_readlink(f"/proc/self/fd/{dir_fd}")
                text = os.path.normpath(os.path.join(folder, text))
            return text
        except (OSError, TypeError, ValueError):
            return None

    def matching(op: str, *paths: object, dir_fd: "int | None" = None) -> list[dict]:
        rules = rules_of(op)
        if not rules:
            return []
        from fnmatch import fnmatchcase

        texts = [text for text in (text_of(path, dir_fd) for path in paths) if text is not None]
        return [rule for rule in rules if any(fnmatchcase(text, rule["pattern"]) for text in texts)]

    def met(op: str, *paths: object, dir_fd: "int | None" = None) -> list[dict]:
        """Let what is due happen; gives back the rules whose fault is in how the operation is done."""
        left = []
        for rule in matching(op, *paths, dir_fd=dir_fd):
            if due(rule):
                if rule["do"] in ("copy", "lag", "half"):
                    left.append(rule)
                else:
                    happen(rule, paths[-1])
        return left

    # --- operations on names

    def copied(rule: dict, source: object, target: object, *, exclusive: bool) -> None:
        with real_open(source, "rb") as file:
            data = file.read()
        flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC)
        handle = real["open"](target, flags, 0o644)
        try:
            real_write(handle, data[: len(data) // 2])
            time.sleep(rule["seconds"])
            rest = data[len(data) // 2 :]
            while rest:
                rest = rest[real_write(handle, rest) :]
        finally:
            real_close(handle)

    def open_(path, flags, mode=0o777, *, dir_fd=None):
        met("open-write" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "open-read", path, dir_fd=dir_fd)
        return real["open"](path, flags, mode, dir_fd=dir_fd)

    def link(src, dst, **options):
        for rule in met("link", src, dst):
            return copied(rule, src, dst, exclusive=True)
        return real["link"](src, dst, **options)

    def replacing(name):
        def call(src, dst, **options):
            for rule in met("replace", src, dst):
                copied(rule, src, dst, exclusive=False)
                return real["unlink"](src)
            return real[name](src, dst, **options)

        return call

    def hidden(rules: list[dict], path: object, name: object) -> bool:
        try:
            found = real["lstat"](os.path.join(os.fsencode(path), os.fsencode(name)))
        except (OSError, TypeError):
            return False
        is_folder = (found.st_mode & 0o170000) == 0o040000
        return not is_folder and any(time.time() - found.st_ctime < rule["seconds"] for rule in rules)

    def listdir(path="."):
        rules = met("listdir", path)
        return [name for name in real["listdir"](path) if not rules or not hidden(rules, path, name)]

    class Scan:
        """What os.scandir gives, less what is hidden."""

        def __init__(self, entries, rules, path):
            self.entries, self.rules, self.path = entries, rules, path

        def __iter__(self):
            return self

        def __next__(self):
            while True:
                entry = next(self.entries)
                if not hidden(self.rules, self.path, entry.name):
                    return entry

        def close(self):
            self.entries.close()

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            self.close()

    def scandir(path="."):
        rules = met("listdir", path)
        entries = real["scandir"](path)
        return Scan(entries, rules, path) if rules else entries

    def fsync(fd):
        met("fsync", fd if isinstance(fd, int) else fd.fileno())
        return real["fsync"](fd)

    def on_path(op, name):
        def call(path, *arguments, dir_fd=None, **options):
            met(op, path, dir_fd=dir_fd)
            return real[name](path, *arguments, dir_fd=dir_fd, **options)

        return call

    patched = {
        "open": open_,
        "link": link,
        "replace": replacing("replace"),
        "rename": replacing("rename"),
        "listdir": listdir,
        "scandir": scandir,
        "fsync": fsync,
        "unlink": on_path("unlink", "unlink"),
        "remove": on_path("unlink", "remove"),
        "mkdir": on_path("mkdir", "mkdir"),
        "stat": on_path("stat", "stat"),
        "lstat": on_path("stat", "lstat"),
    }
    for name, function in patched.items():
        function.__name__ = function.__qualname__ = name
        for supports in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if real[name] in supports:
                supports.add(function)
        setattr(os, name, function)

    # --- the contents of files

    def faulty_write(file, path, write):
        def call(data):
            for rule in met("write", path):
                view = data if isinstance(data, str) else memoryview(data).cast("B")
                write(view[: len(view) // 2])
                file.flush()
                raise the_error(rule, path)
            return write(data)

        return call

    def faulty_read(path, read):
        def call(*arguments):
            met("read", path)
            return read(*arguments)

        return call

    def opened(file, mode="r", *arguments, **options):
        if isinstance(file, int):
            return real_open(file, mode, *arguments, **options)
        writes = any(letter in mode for letter in "wax+")
        met("open-write" if writes else "open-read", file)
        handle = real_open(file, mode, *arguments, **options)
        # Files of Python take attributes of their own, so only this one file gets other methods.
        if writes and matching("write", file):
            handle.write = faulty_write(handle, file, handle.write)
        if ("r" in mode or "+" in mode) and matching("read", file):
            for name in ("read", "readinto", "readall", "read1", "readinto1", "readline", "readlines"):
                if hasattr(handle, name):
                    setattr(handle, name, faulty_read(file, getattr(handle, name)))
        return handle

    opened.__name__ = opened.__qualname__ = "open"
    builtins.open = io.open = opened

    refresh(0.0)


def _after_import(hook) -> None:
    """Call `hook(module)` after each import of a module of coordinator, workers and shared."""
    import importlib.machinery

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] not in ("coordinator", "workers", "shared"):
                return None
            for finder in sys.meta_path:
                if finder is not Finder and hasattr(finder, "find_spec"):
                    spec = finder.find_spec(name, path, target)
                    if spec is not None:
                        break
            else:
                return None
            if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    hook(module)

                spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)


def _light_model() -> None:
    import json

    options = json.loads(os.environ["LK_MODEL"])

    class Light:
        """Pixel sums of 16 x 16 fields through a fixed projection: whole numbers, so no order of sums changes a bit."""

        dim = 1280
        one_by_one = False

        def __init__(self, batch_size) -> None:
            import numpy as np

            self.batch_size = batch_size or 8
            rng = np.random.default_rng(1280)
            self.projection = rng.integers(-8, 9, (16 * 16 * 3, self.dim)).astype(np.float64)
            self.noise = 1 + options["noise"] * np.random.default_rng(os.getpid()).standard_normal(self.dim)

        def forward(self, batch):
            import time

            import numpy as np

            if options["seconds_per_batch"]:
                time.sleep(options["seconds_per_batch"])
            cell = batch.shape[1] // 16
            square = np.ascontiguousarray(batch[:, : 16 * cell, : 16 * cell])
            rows = square.reshape(len(batch), 16, cell, 16 * cell * 3).sum(axis=2, dtype=np.uint32)
            sums = rows.reshape(len(batch), 16, 16, cell, 3).sum(axis=3, dtype=np.int64) - 128 * cell * cell
            features = np.maximum(sums.reshape(len(batch), -1).astype(np.float64) @ self.projection, 0)
            if options["noise"]:
                features = features * self.noise
            return features.astype(np.float32)

    def imported(module) -> None:
        if module.__name__ == "workers.models.embedder" and options["light"]:
            module.register_builder("efficientnet", lambda spec, weights, batch_size: Light(batch_size))
        if module.__name__ == "shared.job.altered_copies" and options["light"]:
            module.IMAGES = options["copies"]
        if module.__name__ == "shared.models" and options["fingerprint_of_another"]:
            own = module.ModelSpec.fingerprint
            module.ModelSpec.fingerprint = property(lambda spec: own.__get__(spec)[:-4] + "0ldr")
        if module.__name__ == "shared.messages.tasks" and options["message_version"] is not None:
            module.VERSION = options["message_version"]

    _after_import(imported)


def _next_sitecustomize() -> None:
    """Run the sitecustomize that this one hides, as without us it would have run."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("LK_FAULTS"):
    _fault_layer()
if os.environ.get("LK_MODEL"):
    _light_model()
_next_sitecustomize()
