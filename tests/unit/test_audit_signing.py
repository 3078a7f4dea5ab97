"""Keys: what is taken as one, what is refused, and what a signature is for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fsserver.audit.signing import PublicKey, Signer, generate, message
from fsserver.errors import ConfigError
from tests.support import UNPRIVILEGED_UID

HEAD = "ab" * 32


def made(directory: Path) -> tuple[Signer, str, str]:
    private, public = str(directory / "key"), str(directory / "key.pub")
    return generate(private, public), private, public


def test_a_key_that_was_made_is_loaded_and_its_public_half_checks_what_it_signs(tmp_path: Path) -> None:
    signer, private, public = made(tmp_path)
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600
    signature = Signer.load(private).sign("log.checkpoint", 7, HEAD)
    for key in (PublicKey.load(public), PublicKey.from_text(signer.public.text), signer.public):
        assert key.signed("log.checkpoint", 7, HEAD, signature)
        assert (key.id, key.text) == (signer.public.id, signer.public.text)
        assert len(key.id) == 16


def test_what_is_signed_is_the_place_and_nothing_else(tmp_path: Path) -> None:
    signer, *_ = made(tmp_path)
    assert message("log.checkpoint", 7, HEAD) == b"fsserver audit log.checkpoint v1\n7\n" + HEAD.encode() + b"\n"
    signature = signer.sign("log.checkpoint", 7, HEAD)
    assert not signer.public.signed("log.checkpoint", 8, HEAD, signature)
    assert not signer.public.signed("log.checkpoint", 7, "ac" * 32, signature)
    assert not signer.public.signed("run.end", 7, HEAD, signature)
    assert not Signer(Ed25519PrivateKey.generate()).public.signed("log.checkpoint", 7, HEAD, signature)


@pytest.mark.parametrize("signature", ["", "AAAA", "?", "\u00e9", "A" * 88, "\ud800"], ids=ascii)
def test_what_is_no_signature_is_none(tmp_path: Path, signature: str) -> None:
    signer, *_ = made(tmp_path)
    assert not signer.public.signed("log.checkpoint", 7, HEAD, signature)


@pytest.mark.parametrize("text", ["", "AAAA", "?", "\u00e9", "A" * 44, "\ud800"], ids=ascii)
def test_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        PublicKey.from_text(text)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey, password: bytes | None = None
) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, info)


PRIVATE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"hello\n",
    "half a key": lambda: pem(Ed25519PrivateKey.generate())[:60],
    "a key with a changed byte": lambda: pem(Ed25519PrivateKey.generate()).replace(b"MC4CAQ", b"MC4CAA"),
    "an RSA key": lambda: pem(rsa.generate_private_key(65537, 1024)),
    "a key of another curve": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
    "a key with a password": lambda: pem(Ed25519PrivateKey.generate(), b"secret"),
    "a key of an unknown kind": lambda: pem(Ed25519PrivateKey.generate()).replace(b"K2Vw", b"K2Vk"),
    "zeros without end": lambda: b"\0" * 100_000,
}


@pytest.mark.parametrize("name", PRIVATE)
def test_a_file_that_holds_no_private_key_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(PRIVATE[name]())
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no Ed25519 private key"):
        Signer.load(str(path))


PUBLIC: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a private key": lambda: pem(Ed25519PrivateKey.generate()),
    "an RSA key": lambda: public_pem(rsa.generate_private_key(65537, 1024)),
    "a key of another curve": lambda: public_pem(ec.generate_private_key(ec.SECP256R1())),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_file_that_holds_no_public_key_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key.pub"
    path.write_bytes(PUBLIC[name]())
    with pytest.raises(ConfigError, match="holds no Ed25519 public key"):
        PublicKey.load(str(path))


def linked(path: Path, mode: int = 0o600) -> None:
    path.rename(path.parent / "elsewhere")
    (path.parent / "elsewhere").chmod(mode)
    path.symlink_to("elsewhere")


def in_its_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def arrange(path: Path) -> None:
        path.unlink()
        make(path)

    return arrange


ARRANGED: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "as it was made": (lambda path: None, None),
    "read-only": (lambda path: path.chmod(0o400), None),
    "its group's to read": (lambda path: path.chmod(0o640), None if os.geteuid() == 0 else "chmod 600"),
    "readable by all": (lambda path: path.chmod(0o604), "chmod 600"),
    "writable by its group": (lambda path: path.chmod(0o620), "chmod 600"),
    "a link to it": (linked, None),
    "under a second name too": (lambda path: os.link(path, path.parent / "another"), "second name"),
    "a link to one that others can read": (lambda path: linked(path, 0o604), "chmod 600"),
    "a link to nothing": (in_its_place(lambda path: path.symlink_to("nothing")), "cannot be read"),
    "a link to itself": (in_its_place(lambda path: path.symlink_to(path)), "cannot be read"),
    "a directory": (in_its_place(lambda path: path.mkdir(mode=0o700)), "not a regular file"),
    "a FIFO": (in_its_place(os.mkfifo), "not a regular file"),
    "a device": (in_its_place(lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
    "absent": (in_its_place(lambda path: None), "cannot be read"),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_a_private_key_is_its_owners_alone(tmp_path: Path, name: str) -> None:
    arrange, reason = ARRANGED[name]
    _, private, _ = made(tmp_path)
    arrange(Path(private))
    before = os.listdir("/proc/self/fd")
    if reason is None:
        Signer.load(private)
    else:
        with pytest.raises(ConfigError, match=reason):
            Signer.load(private)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that belong to root")
def test_a_group_may_read_a_private_key_of_roots_as_secrets_are_mounted(tmp_path: Path) -> None:
    """Kubernetes mounts it 0440 for the pod's group; systemd grants it by an access list, whose mask looks the same."""
    _, private, _ = made(tmp_path)
    group = 12345
    os.chown(private, 0, group)
    os.chmod(private, 0o440)
    Signer.load(private)
    os.chmod(private, 0o460)
    with pytest.raises(ConfigError, match="where it belongs to root"):
        Signer.load(private)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_private_key_of_another_user_is_refused(tmp_path: Path) -> None:
    _, private, _ = made(tmp_path)
    os.chown(private, UNPRIVILEGED_UID, -1)
    with pytest.raises(ConfigError, match="must belong to this user"):
        Signer.load(private)


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_no_file_is_replaced_and_half_a_pair_is_not_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match=f"{there} cannot be written: File exists"):
        made(tmp_path)
    assert os.listdir(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("target")
    with pytest.raises(ConfigError, match="cannot be written"):
        made(tmp_path)
    assert os.listdir(tmp_path) == ["key"]
