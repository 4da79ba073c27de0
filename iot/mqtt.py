"""A paho client for the project's broker addresses. MQTT 3.1.1: the fastest to parse, and enough for what is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import paho.mqtt.client as paho

from collateral.errors import InvalidInputError
from collateral.log import mask_secrets

KEEPALIVE_S = 60
ClientT = TypeVar("ClientT", bound=paho.Client)


def make_client(url: str, client_id: str, clean_session: bool, manual_ack: bool = False, window: int = 0) -> paho.Client:
    """An unconnected client; `client.reconnect()` connects it.

    Args:
        url: `mqtt://user:password@host:port`, or `mqtts://...` for TLS with the system's authorities, or with those of a
            file: `mqtts://host:port?ca=FILE`, and `&cert=FILE&key=FILE` to show a certificate of one's own.
        client_id: name of the session at the broker.
        clean_session: False keeps subscriptions and undelivered messages between connections.
        manual_ack: the caller acknowledges each message itself.
        window: most published messages on the way to the broker at once; 0 leaves paho's 20.

    Raises:
        InvalidInputError: the address cannot be read.
    """
    return make_client_of(paho.Client, url, client_id, clean_session, manual_ack, window)


def make_client_of(
    kind: type[ClientT], url: str, client_id: str, clean_session: bool, manual_ack: bool = False, window: int = 0
) -> ClientT:
    """As `make_client`, of a class of one's own."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text would show what may be a password
        parts, port = urlsplit(""), None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise InvalidInputError(
            f"The broker address {mask_secrets(url)!r} is not of the form mqtt://user:password@host:port."
        )
    client = kind(
        paho.CallbackAPIVersion.VERSION2,  # type: ignore[attr-defined, unused-ignore]
        client_id=client_id,
        clean_session=clean_session,
        manual_ack=manual_ack,
    )
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    secure = parts.scheme == "mqtts"
    if secure:
        files = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            client.tls_set(files.get("ca"), files.get("cert"), files.get("key"))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"The TLS files of {mask_secrets(url)!r} cannot be used: {error}.") from error
    client.connect_timeout = 5.0
    if window:
        client.max_inflight_messages_set(window)
    client.connect_async(parts.hostname, port or (8883 if secure else 1883), KEEPALIVE_S)
    return client


def with_password(url: str, file: Path | None) -> str:
    """The address with the password of the first line of `file`, which arguments would show to everybody on the machine.

    Raises:
        InvalidInputError: the address carries a password, or the file cannot be read.
    """
    try:
        parts = urlsplit(url)
        given = parts.password
    except ValueError:  # its text would show what may be a password
        raise InvalidInputError("The broker address is not of the form mqtt://user@host:port.") from None
    if given is not None:
        raise InvalidInputError(
            "Arguments of a command can be read by everybody on the machine: name the broker as mqtt://user@host:port and "
            "put the password into a file (--password-file)."
        )
    if file is None:
        return url
    try:
        word = file.read_text().splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} holds no password ({error}).") from None
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(word, safe='')}@{host}").geturl()


def leave(client: paho.Client) -> None:
    """Says goodbye if the line still stands, ends the client's thread and closes its sockets, whatever state it is in."""
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()  # paho itself closes its pair of wake-up sockets only when the collector finds the client


def drop(client: paho.Client) -> None:
    """Breaks the line without a word, as a power cut does: the broker publishes the last will."""
    client.loop_stop()
    client._reset_sockets()
