"""Kafka listeners with TLS and with logins, beside the plain one, so that clients can be tried against what clouds demand.

Four listeners, named as in [`LISTENERS`]: `SSL` (the broker proves who it is), `MTLS` (the client too, by a certificate),
`SASL_SSL` and `SASL_PLAINTEXT` (user and password, by SCRAM-SHA-512 or PLAIN). One user with one password.
"""

from dataclasses import dataclass
from pathlib import Path

from tools.stack.certificates import Certificates
from tools.stack.ports import LOOPBACK

#: Name of each listener and the protocol it speaks.
LISTENERS = {"SSL": "SSL", "MTLS": "SSL", "SASL_SSL": "SASL_SSL", "SASL_PLAINTEXT": "SASL_PLAINTEXT"}
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class SecureListeners:
    """The listeners of one broker, on `ports` in the order of `LISTENERS`; certificates and user list live in `folder`."""

    folder: Path
    ports: list[int]
    password: str
    user: str = "worker"

    @property
    def certificates(self) -> Certificates:
        """Keys and certificates; the keys are locked with the user's password."""
        return Certificates(self.folder / "certificates")

    def address(self, listener: str) -> str:
        """Returns host and port of a listener."""
        return f"{LOOPBACK}:{self.ports[list(LISTENERS).index(listener)]}"

    def prepare(self) -> None:
        """Makes the certificates, once."""
        self.certificates.make(self.password)

    def urls(self) -> list[str]:
        """Returns `NAME://host:port` of all listeners."""
        return [f"{name}://{self.address(name)}" for name in LISTENERS]

    def properties(self) -> dict[str, str]:
        """Returns the broker's properties, beside the addresses; they hold the password."""
        files = self.certificates
        properties = {
            "ssl.keystore.location": str(files.broker_keystore),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.password": self.password,
            "ssl.key.password": self.password,
            "ssl.truststore.location": str(files.authority),
            "ssl.truststore.type": "PEM",
            "listener.name.mtls.ssl.client.auth": "required",
        }
        for name in ("sasl_ssl", "sasl_plaintext"):
            prefix = f"listener.name.{name}"
            properties[f"{prefix}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512,PLAIN"
            properties[f"{prefix}.scram-sha-512.sasl.jaas.config"] = f"{SCRAM_LOGIN} required;"
            properties[f"{prefix}.plain.sasl.jaas.config"] = f'{PLAIN_LOGIN} required user_{self.user}="{self.password}";'
        return properties

    def format_arguments(self) -> list[str]:
        """Returns what `kafka-storage format` needs to know the user; holds the password, so it goes there by a file."""
        return [f"--add-scram=SCRAM-SHA-512=[name={self.user},password={self.password}]"]
