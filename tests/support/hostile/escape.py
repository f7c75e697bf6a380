"""Attempts to reach a network, a file, a process or rarely used parts of the kernel."""

_TRY = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

def done(result):
    return "escaped" if result >= 0 else "held"

def attack():
    try:
        return "escaped" if attempt() else "held"
    except (OSError, ImportError, MemoryError, RuntimeError, ValueError):
        return "held"
"""

_ATTEMPTS = {
    # Networks.
    "tcp": """
import socket
def attempt():
    with socket.socket() as s:
        s.settimeout(0.5)
        s.connect(("127.0.0.1", @TCP@))
        s.sendall(b"escaped")
        return True
""",
    "tcp over IPv6": """
import socket
def attempt():
    with socket.socket(socket.AF_INET6) as s:
        s.settimeout(0.5)
        s.connect(("::1", @TCP@))
        return True
""",
    "udp": """
import socket
def attempt():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return s.sendto(b"escaped", ("127.0.0.1", @UDP@))
""",
    "a listening socket": """
import socket
def attempt():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        return True
""",
    "unix socket": """
import socket
def attempt():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("@UNIX@")
        return True
""",
    "abstract unix socket": """
import socket
def attempt():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(chr(0) + "@ABSTRACT@")
        return True
""",
    "datagram pair pointed elsewhere": """
import socket
def attempt():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"escaped", chr(0) + "@ABSTRACT@")
    return True
""",
    "stream pair pointed elsewhere": """
import socket
def attempt():
    one, other = socket.socketpair()
    one.connect(chr(0) + "@ABSTRACT@")
    return True
""",
    "raw socket": "import socket\ndef attempt():\n    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n",
    "packet socket": "import socket\ndef attempt():\n    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n",
    "netlink": "import socket\ndef attempt():\n    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n",
    "vsock": "import socket\ndef attempt():\n    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n",
    "kernel crypto socket": "import socket\ndef attempt():\n    return socket.socket(socket.AF_ALG, 5)\n",
    "bluetooth": "import socket\ndef attempt():\n    return socket.socket(31, 3, 0)\n",
    "socket through native code": "def attempt():\n    return libc.socket(2, 2, 0) >= 0\n",
    "socket through the 32-bit gate": """
import mmap
def attempt():
    # mov eax, 359 (socket on i386); mov ebx, 2; mov ecx, 2; xor edx, edx; int 0x80; ret
    code = bytes.fromhex("53b867010000bb02000000b90200000031d2cd805bc3")
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0
""",
    "socket through the x32 numbers": "def attempt():\n    return libc.syscall(0x40000029, 2, 2, 0) >= 0\n",
    "name resolution": """
import socket
def attempt():
    return socket.getaddrinfo("localhost", 80, family=socket.AF_INET, flags=0) and socket.create_connection(
        ("localhost", @TCP@), 0.5)
""",
    # Files.
    "read a file outside": "def attempt():\n    return open('@CANARY@').read()\n",
    "write a file outside": "def attempt():\n    return open('@CANARY@', 'w').write('escaped')\n",
    "append through a descriptor": "def attempt():\n    return os.write(os.open('@CANARY@', 1 | 1024), b'escaped')\n",
    "truncate a file outside": "def attempt():\n    os.truncate('@CANARY@', 0)\n    return True\n",
    "remove a file outside": "def attempt():\n    os.unlink('@CANARY@')\n    return True\n",
    "rename a file outside": "def attempt():\n    os.rename('@CANARY@', '@CANARY@.gone')\n    return True\n",
    "create a file beside": "def attempt():\n    return open('@CANARY@.new', 'w').write('escaped')\n",
    "change a mode outside": "def attempt():\n    os.chmod('@CANARY@', 0o777)\n    return True\n",
    "change times outside": "def attempt():\n    os.utime('@CANARY@', (1, 1))\n    return True\n",
    "change an owner outside": "def attempt():\n    os.chown('@CANARY@', 12345, 12345)\n    return True\n",
    "symbolic link out": """
def attempt():
    os.symlink('@CANARY@', 'link')
    return open('link').read()
""",
    "hard link out": "def attempt():\n    os.link('@CANARY@', 'link')\n    return open('link').read()\n",
    "relative path out": """
def attempt():
    return open("../" * 20 + '@CANARY@'.lstrip("/")).read()
""",
    "open by handle": """
def attempt():
    handle = ctypes.create_string_buffer(b"\\x80\\0\\0\\0", 136)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, b"@CANARY@", handle, ctypes.byref(mount), 0) < 0:
        return False
    return libc.open_by_handle_at(os.open("/", os.O_RDONLY), handle, 0) >= 0
""",
    "the system's passwords": "def attempt():\n    return open('/etc/passwd').read()\n",
    "write to the system": """
import sysconfig
def attempt():
    with open(sysconfig.get_path("stdlib") + "/rapid_canary.py", "w") as file:
        return file.write("escaped")
""",
    "write to the harness": """
import components.sandbox.inside.wire as wire
def attempt():
    return open(wire.__file__, "a").write("# escaped")
""",
    "a device node": """
import stat
def attempt():
    os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    return True
""",
    "shared memory folder": "def attempt():\n    return open('/dev/shm/rapid-canary', 'w').write('escaped')\n",
    "set-uid file": """
def attempt():
    open("file", "w").write("x")
    os.chmod("file", 0o4755)
    return os.stat("file").st_mode & 0o4000
""",
    # Secrets of the parents.
    "environment": "def attempt():\n    return '@SECRET@' in str(dict(os.environ))\n",
    "environments in /proc": """
def attempt():
    for pid in ["self", *map(str, range(1, 40)), "@PID@"]:
        for name in ("environ", "task/" + pid + "/environ", "cmdline", "maps"):
            try:
                data = open(f"/proc/{pid}/{name}", "rb").read()
            except OSError:
                continue
            if b"@SECRET@" in data or (pid == "1" and data):
                return True
    return False
""",
    "list processes": "def attempt():\n    return [name for name in os.listdir('/proc') if name.isdigit()]\n",
    "link to a parent's program": "def attempt():\n    return os.readlink('/proc/@PID@/exe')\n",
    "working directory of a parent": "def attempt():\n    os.chdir('/proc/@PID@/cwd')\n    return os.listdir('.')\n",
    "root of a parent": "def attempt():\n    return os.listdir('/proc/@PID@/root')\n",
    "memory of a parent": "def attempt():\n    return open('/proc/@PID@/mem', 'rb').fileno() >= 0\n",
    "inherited descriptors": """
def attempt():
    for fd in range(4, 256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        return True
    return False
""",
    # Processes and signals.
    "signal a process": "def attempt():\n    os.kill(@PID@, 9)\n    return True\n",
    "probe a process": "def attempt():\n    os.kill(@PID@, 0)\n    return True\n",
    "signal the parent": """
def attempt():
    parent = os.getppid()
    if parent <= 0:
        return False
    os.kill(parent, 9)
    return True
""",
    "signal through tgkill": "def attempt():\n    return libc.syscall(234, @PID@, @PID@, 9) >= 0\n",
    "signal through a queue": """
def attempt():
    return libc.syscall(129, @PID@, 9, ctypes.create_string_buffer(128)) >= 0
""",
    "signal through a process descriptor": """
import signal
def attempt():
    signal.pidfd_send_signal(os.pidfd_open(@PID@), 9)
    return True
""",
    "signal through a pipe's owner": """
import fcntl
def attempt():
    read_end, write_end = os.pipe()
    fcntl.fcntl(read_end, 10, 9)
    fcntl.fcntl(read_end, fcntl.F_SETOWN, @PID@)
    fcntl.fcntl(read_end, fcntl.F_SETFL, fcntl.fcntl(read_end, fcntl.F_GETFL) | 0o20000)
    os.write(write_end, b"x")
    return fcntl.fcntl(read_end, fcntl.F_GETOWN) == @PID@
""",
    "trace a process": "def attempt():\n    return libc.ptrace(16, @PID@, 0, 0) >= 0\n",
    "read a process": """
def attempt():
    data = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(data), 8)
    there = (ctypes.c_void_p * 2)(0x400000, 8)
    return libc.process_vm_readv(@PID@, vector, 1, there, 1, 0) >= 0
""",
    "processor time of a process": """
import time
def attempt():
    return time.clock_gettime(~@PID@ << 3 | 2) >= 0
""",
    "processors allowed to a process": "def attempt():\n    return os.sched_getaffinity(@PID@)\n",
    "limits of a process": """
import resource
def attempt():
    resource.prlimit(@PID@, resource.RLIMIT_NOFILE)
    return True
""",
    "priority of a process": "def attempt():\n    os.setpriority(os.PRIO_PROCESS, @PID@, 19)\n    return True\n",
    "processors of a process": "def attempt():\n    os.sched_setaffinity(@PID@, {0})\n    return True\n",
    # Rarely used parts of the kernel.
    "become root": "def attempt():\n    os.setresuid(0, 0, 0)\n    return True\n",
    "regain capabilities": """
import struct
def attempt():
    header = struct.pack("=Ii", 0x20080522, 0)
    return libc.capset(header, bytes([255] * 24)) >= 0
""",
    "new user namespace": "def attempt():\n    return libc.unshare(0x10000000) >= 0\n",
    "new namespaces with clone": "def attempt():\n    return libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) > 0\n",
    "mount": "def attempt():\n    return libc.mount(b'none', b'/', b'tmpfs', 0, None) >= 0\n",
    "unmount": "def attempt():\n    return libc.umount2(os.getcwd().encode(), 2) >= 0\n",
    "change the root": "def attempt():\n    os.chroot('.')\n    return True\n",
    "join a namespace": "def attempt():\n    return libc.setns(os.open('/proc/@PID@/ns/net', 0), 0) >= 0\n",
    "host name": "def attempt():\n    return libc.sethostname(b'escaped', 7) >= 0\n",
    "keyring": """
def attempt():
    return libc.syscall(248, b"user", b"rapid-canary", b"escaped", 7, -4) >= 0
""",
    "keyring session": "def attempt():\n    return libc.syscall(250, 1, b'rapid-canary') >= 0\n",
    "bpf": "def attempt():\n    return libc.syscall(321, 0, ctypes.create_string_buffer(64), 64) >= 0\n",
    "performance counters": """
def attempt():
    attribute = ctypes.create_string_buffer(128)
    attribute[4] = 128
    return libc.syscall(298, attribute, 0, -1, -1, 0) >= 0
""",
    "userfaultfd": "def attempt():\n    return libc.syscall(323, 1) >= 0\n",
    "io_uring": "def attempt():\n    return libc.syscall(425, 4, ctypes.create_string_buffer(120)) >= 0\n",
    "anonymous files": "def attempt():\n    return os.memfd_create('canary') >= 0\n",
    "System V shared memory": "def attempt():\n    return libc.shmget(0, 4096, 0o1600) >= 0\n",
    "System V messages": "def attempt():\n    return libc.msgget(0x5261, 0o1600) >= 0\n",
    "POSIX messages": "def attempt():\n    return libc.syscall(240, b'rapid', 0o102, 0o600, None) >= 0\n",
    "kernel log": "def attempt():\n    return libc.klogctl(3, ctypes.create_string_buffer(64), 64) >= 0\n",
    "switch off seccomp": "def attempt():\n    return libc.prctl(22, 0, 0, 0, 0) >= 0\n",
    "lift the own limits": """
import resource
def attempt():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True
""",
    "push into a terminal": "import fcntl\ndef attempt():\n    fcntl.ioctl(0, 0x5412, b'x')\n    return True\n",
    "modules": "def attempt():\n    return libc.syscall(313, 0, b'', 0) >= 0\n",
    "swap": "def attempt():\n    return libc.swapoff(b'/none') >= 0 or ctypes.get_errno() != errno.EPERM\n",
    "clock": "def attempt():\n    return libc.syscall(227, 0, ctypes.create_string_buffer(16)) >= 0\n",
}

ESCAPES = {name: text + _TRY for name, text in _ATTEMPTS.items()}
