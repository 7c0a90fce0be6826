"""Decoding processes of tests: they decode as the real ones do, but some bytes end, hang or swell them."""

import sys

from workers.search.decoding.processes import DecodingProcesses

PROGRAM = """
import os, signal, sys, threading
import numpy as np
from workers.search.decoding import process
def guarded(make, data, how, named):
    word, _, rest = bytes(data[:200]).partition(b" ")
    if word == b"crash": os.kill(os.getpid(), signal.SIGSEGV)
    if word == b"exit": os._exit(9)
    if word == b"hang": threading.Event().wait()
    if word == b"stop": os.kill(os.getpid(), signal.SIGSTOP)
    if word == b"swell": np.ones(10**9, np.uint8)
    if word == b"chance" and not os.path.exists(rest):
        open(rest, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if word == b"nonsense": os.write(answers[0], b"\\0" * 7 + b"\\5" + b"[1]\\n5"); os._exit(0)
    print("a library that prints")
    return make(data if word != b"chance" else open(rest + b".png", "rb").read(), *how, **named)
answers = []
dup = os.dup
os.dup = lambda file: answers.append(dup(file)) or answers[-1]
for name in ("decode", "views_of", "features_of", "pdqs_of"):
    def ours(data, *how, make=getattr(process, name), **named): return guarded(make, data, how, named)
    setattr(process, name, ours)
process.main(sys.argv[1:])
"""


def ending(decoders: DecodingProcesses) -> DecodingProcesses:
    """`decoders`, whose processes are yet to be started, with the program above."""
    decoders.command = [sys.executable, "-P", "-c", PROGRAM, *decoders.command[4:]]
    return decoders
