"""Keys and certificates for TLS on loopback, made by the JDK's keytool: an authority, the broker's and a client's.

Passwords go to the tools by files that only their owner may read, never by command line.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.stack import build
from tools.stack.errors import StackError
from tools.stack.ports import LOOPBACK

AUTHORITY = ("-ext", "bc:critical=ca:true", "-ext", "ku:critical=keyCertSign")
# Clients compare the address they connect to with this; `localhost` is left out on purpose, as a name that does not fit.
BROKER = ("-ext", f"san=ip:{LOOPBACK}", "-ext", "eku=serverAuth")
CLIENT = ("-ext", "eku=clientAuth")


@dataclass(frozen=True)
class Certificates:
    """The files of one authority; each key is locked with the same password."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate, PEM: what clients trust."""
        return self.folder / "ca.pem"

    @property
    def broker_keystore(self) -> Path:
        """The broker's key and chain, PKCS#12."""
        return self.folder / "broker.p12"

    @property
    def client_keystore(self) -> Path:
        """The client's key and chain, PKCS#12."""
        return self.folder / "client.p12"

    @property
    def client_certificate(self) -> Path:
        """The client's certificate, PEM."""
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        """The client's key, PEM, locked with the password."""
        return self.folder / "client.key"

    def make(self, password: str) -> None:
        """Makes all files, unless they are there.

        Args:
            password: locks every key; at least six characters, keytool wants that.

        Raises:
            StackError: if a tool is missing or fails.
        """
        if self.client_key.exists():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._password.touch(mode=0o600)
        # Two lines: openssl takes the second for what it writes, where one file is named for reading and writing.
        self._password.write_text(f"{password}\n" * 2, encoding="utf-8")
        self._keys.unlink(missing_ok=True)
        self._generate("ca", *AUTHORITY)
        self._generate("broker", *BROKER, "-signer", "ca")
        self._generate("client", *CLIENT, "-signer", "ca")
        self._keytool("-exportcert", "-rfc", "-alias", "ca", "-keystore", self._keys, "-file", self.authority)
        for alias, keystore in (("broker", self.broker_keystore), ("client", self.client_keystore)):
            self._keep_apart(alias, keystore)
        self._pem("-clcerts", "-nokeys", "-out", self.client_certificate)
        self._pem("-nocerts", "-passout", f"file:{self._password}", "-out", self.client_key)

    @property
    def _password(self) -> Path:
        return self.folder / "password"

    @property
    def _keys(self) -> Path:
        """All keys together; a server's keystore must have one only, it would choose among several."""
        return self.folder / "all.p12"

    def _generate(self, alias: str, *options: str) -> None:
        kind = ("-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650")
        self._keytool("-genkeypair", "-alias", alias, "-dname", f"CN={alias}", *kind, *options, "-keystore", self._keys)

    def _keep_apart(self, alias: str, keystore: Path) -> None:
        keystore.unlink(missing_ok=True)
        source = ("-srckeystore", self._keys, "-srcstorepass:file", self._password, "-srcalias", alias)
        target = ("-destkeystore", keystore, "-deststoretype", "PKCS12", "-deststorepass:file", self._password)
        _run(build.program("keytool", "openjdk-17-jre-headless"), "-importkeystore", *source, *target)

    def _keytool(self, *arguments: str | Path) -> None:
        keytool = build.program("keytool", "openjdk-17-jre-headless")
        _run(keytool, *arguments, "-storetype", "PKCS12", "-storepass:file", self._password)

    def _pem(self, *arguments: str | Path) -> None:
        source = ("-in", self.client_keystore, "-passin", f"file:{self._password}")
        _run(build.program("openssl", "openssl"), "pkcs12", *source, *arguments)


def _run(program: str, *arguments: str | Path) -> None:
    command = [program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise StackError(f"`{program} {arguments[0]}` failed: {(result.stdout + result.stderr).strip()[-1000:]}")
