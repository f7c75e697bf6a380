"""Attempts to use more than is allowed, or to outlive the run."""

# Every program is bounded by itself too, so that a broken sandbox does not bring the machine down.
EXHAUSTION = {
    "endless loop": "def attack():\n    while True: pass\n",
    "endless loop at the import": "while True: pass\n",
    "endless sleep": "import time\ndef attack():\n    time.sleep(1000)\n",
    "catastrophic regular expression": "import re\ndef attack():\n    return re.match('(a+)+$', 'a' * 60 + 'b')\n",
    "power that never ends": "def attack():\n    return 9 ** 9 ** 9 and 'escaped'\n",
    "ignored signals": """
import signal
def attack():
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True: pass
""",
    "memory in one piece": """
def attack():
    try:
        return "escaped" if bytearray(3 << 30) else "held"
    except MemoryError:
        return "held"
""",
    "memory in small pieces": """
def attack():
    kept = []
    try:
        while len(kept) < 3000:
            kept.append(bytearray(1 << 20))
    except MemoryError:
        kept.clear()
        return "held"
    return "escaped"
""",
    "memory at the import": "kept = [bytearray(1 << 20) for _ in range(3000)]\ndef attack():\n    return 'escaped'\n",
    "memory of shared maps": """
import mmap
def attack():
    kept = []
    try:
        for _ in range(300):
            page = mmap.mmap(-1, 10 << 20)
            page.write(b"x" * (10 << 20))
            kept.append(page)
    except (OSError, MemoryError):
        return "held"
    return "escaped"
""",
    "locked memory": """
import ctypes, mmap
def attack():
    page = mmap.mmap(-1, 1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return "escaped" if ctypes.CDLL(None).mlock(ctypes.c_void_p(address), 1 << 20) == 0 else "held"
""",
    "deep recursion": """
import sys
def attack():
    sys.setrecursionlimit(10 ** 9)
    def down(): return down()
    return down()
""",
    "one large file": """
def attack():
    try:
        with open("flood", "wb", buffering=0) as file:
            for _ in range(200):
                if file.write(bytes(1 << 20)) < 1 << 20: return "held"
    except OSError:
        return "held"
    return "escaped"
""",
    "many files": """
import time
def attack():
    try:
        for number in range(100):
            with open(f"flood-{number}", "wb") as file:
                file.write(bytes(1 << 20))
    except OSError:
        return "held"
    time.sleep(0.5)
    return "escaped"
""",
    "many empty files": """
import time
def attack():
    try:
        for number in range(20_000):
            open(f"flood-{number}", "wb").close()
    except OSError:
        return "held"
    time.sleep(0.5)
    return "escaped"
""",
    "a hole of a terabyte": """
def attack():
    try:
        with open("flood", "wb") as file:
            file.truncate(1 << 40)
    except OSError:
        return "held"
    return "escaped"
""",
    "deep tree of directories": """
import os
def attack():
    try:
        for _ in range(100_000):
            os.mkdir("d")
            os.chdir("d")
    except OSError:
        return "held"
    return "escaped"
""",
    "many descriptors": """
import os
def attack():
    try:
        for _ in range(10_000): os.dup(0)
    except OSError:
        return "held"
    return "escaped"
""",
    "many threads": """
import threading, time
def attack():
    threading.stack_size(1 << 16)
    try:
        for _ in range(2_000):
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError:
        return "held"
    return "escaped"
""",
    "threads that outlive their function": """
import threading
def attack():
    def spin():
        while True: pass
    for _ in range(3): threading.Thread(target=spin).start()
    return "held"
""",
    "fork bomb": """
import os, time
def attack():
    pids = []
    try:
        for _ in range(400):
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
            pids.append(pid)
    except OSError:
        return "held"
    return "escaped"
""",
    "fork bomb that grows": """
import os, time
def attack():
    for _ in range(9):
        try:
            os.fork()
        except OSError:
            break
    time.sleep(1000)
""",
    "vfork through native code": """
import ctypes
def attack():
    return "escaped" if ctypes.CDLL(None).syscall(56, 17 | 0x4000 | 0x100, 0, 0, 0, 0) > 1 << 20 else "held"
""",
    "daemon": """
import os, time
def attack():
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 64)
                time.sleep(1000)
            os._exit(0)
    except OSError:
        pass
    return "held"
""",
    "daemon that holds the channel": """
import os, time
def attack():
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    except OSError:
        pass
    os._exit(0)
""",
    "stopped process": """
import os, signal
def attack():
    os.kill(os.getpid(), signal.SIGSTOP)
    return "held"
""",
    "another program": """
import os, subprocess, sys
def attack():
    try:
        out = subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"], timeout=1000)
    except OSError:
        return "held"
    return "escaped" if out.returncode == 0 else "held"
""",
    "endless output": "def attack():\n    while True: print('x' * 10_000)\n",
    "a flood on the channel": """
import os
def attack():
    while True: os.write(3, b"x" * 65536)
""",
    "a value without end": """
def attack():
    value = []
    value.append(value)
    return value
""",
    "a value of ten million items": "def attack():\n    return list(range(10_000_000))\n",
    "a very deep value": """
def attack():
    value = 1
    for _ in range(100_000): value = [value]
    return value
""",
    "an integer of a million digits": "def attack():\n    return 1 << 4_000_000\n",
    "numbers that collide": "def attack():\n    return {i * (2 ** 61 - 1) for i in range(1, 20_000)}\n",
    "source that breaks the compiler": "x = " + "(" * 150 + "1" + ")" * 150 + "\ny = " + "-" * 50_000 + "1\n",
    "source of nested calls": "x = " + "f(" * 20_000 + ")" * 20_000 + "\n",
    "source with null bytes": "def attack():\n    return 'escaped'\x00\n",
    "source of half a character": "def attack():\n    return '\ud800'\n",
}
