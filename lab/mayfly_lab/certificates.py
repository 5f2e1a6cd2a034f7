# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority, and the certificate that answers for AWS's names inside the lab."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mayfly_lab.addresses import certificate_names

_LIFE = timedelta(days=3650)


def ensure_authority(cache: Path) -> None:
    """Make ``ca.pem`` and ``ca.key`` in ``cache``, once: the machine image trusts this authority.

    Whoever calls this where others may do the same holds a lock. The certificate is written last, and a pair that
    does not belong together is made anew, so a start that was killed half way does no harm.
    """
    if _is_whole(cache / "ca.pem", cache / "ca.key"):
        return
    cache.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mayfly lab authority")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(cache / "ca.key", _private(key), 0o600)
    _write(cache / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def issue_server_certificate(cache: Path, target: Path, names: Sequence[str] = ()) -> None:
    """Write key and certificate for these names, or for every endpoint of the lab, into one PEM file (0600)."""
    authority = x509.load_pem_x509_certificate((cache / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((cache / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    named = [x509.DNSName(name) for name in names or certificate_names()]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mayfly lab")])
    certificate = (
        _builder(subject, authority.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(named), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(target, _private(key) + certificate.public_bytes(serialization.Encoding.PEM), 0o600)


def _is_whole(certificate: Path, key: Path) -> bool:
    """Whether both files exist and belong together."""
    try:
        public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return False
    return bool(private.public_key() == public)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole."""
    unfinished = path.with_name(f"{path.name}.new{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
    unfinished.replace(path)
