"""The variables of docs/deployment.rst for proxies and certificates, with a real proxy and authority."""

import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PROGRAM = """
import asyncio, sys, boto3
from veo_provider.api.client import VeoClient
from veo_provider.api.async_client import AsyncVeoClient
from veo_provider.exceptions import VeoTaskNotFoundError
async def get(url):
    async with AsyncVeoClient("sk-x", url) as client:
        await client.get("task_" + "0" * 32)
try:
    if sys.argv[1] == "requests":
        VeoClient("sk-x", sys.argv[2]).get("task_" + "0" * 32)
    elif sys.argv[1] == "aiohttp":
        asyncio.run(get(sys.argv[2]))
    else:
        boto3.client("s3", endpoint_url=sys.argv[2], aws_access_key_id="a", aws_secret_access_key="b",
                     region_name="us-east-1").list_buckets()
except Exception as error:
    print(type(error).__name__, error)
"""
API = ["requests", "aiohttp"]
EVERYBODY = [*API, "boto3"]


def call(who, url, **variables):
    """Make one call in a process with these variables and no other, and return what was raised."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, who, url],
        env={**environment, "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true", **variables},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@contextmanager
def listening(answer):
    """Accept connections, and give each to a function; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        answer(connection)

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy():
    """A proxy that notes the first line of each request, and refuses it; its URL and those lines."""
    lines = []

    def answer(connection):
        lines.append(connection.recv(65536).split(b"\r\n")[0].decode())
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(answer) as port:
        yield f"http://127.0.0.1:{port}", lines


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_each_client_asks_the_proxy(proxy, who, scheme):
    """A call goes to the proxy that HTTP_PROXY or HTTPS_PROXY names, in the proxy's own form."""
    url, lines = proxy
    call(who, f"{scheme}://gateway.invalid/v1", **{f"{scheme.upper()}_PROXY": url})
    assert lines
    assert lines[0].startswith(
        "CONNECT gateway.invalid:443" if scheme == "https" else "GET http://gateway.invalid/"
    )


@pytest.mark.parametrize("who", EVERYBODY)
def test_no_proxy_is_an_exception(proxy, who):
    """A host in NO_PROXY is called directly."""
    url, lines = proxy
    call(who, "http://gateway.invalid/v1", HTTP_PROXY=url, NO_PROXY="gateway.invalid")
    assert lines == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The file of a certificate for 127.0.0.1, which is its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An inner authority")])
    now = datetime.now(timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ca.pem").write_bytes(built.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return str(folder / "ca.pem"), str(folder / "key.pem")


@pytest.fixture
def server(certificate):
    """A server with that certificate, which refuses each request; its URL and what it was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked = []

    def answer(connection):
        with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as wrapped:
            asked.append(wrapped.recv(65536))
            wrapped.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(answer) as port:
        yield f"https://127.0.0.1:{port}/v1", asked


TRUSTED = {
    "REQUESTS_CA_BUNDLE": EVERYBODY,
    "CURL_CA_BUNDLE": API,
    "AWS_CA_BUNDLE": ["boto3"],
    "SSL_CERT_FILE": [],
}


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("variable", TRUSTED)
def test_a_bundle_is_trusted_by_whom_the_page_says(certificate, server, who, variable):
    """A server with a certificate of one's own is called by those who read the variable, and no other."""
    url, asked = server
    raised = call(who, url, **{variable: certificate[0]})
    assert (len(asked) > 0) == (who in TRUSTED[variable]), raised
