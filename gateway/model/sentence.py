"""Parts of a sentence that have a sentence of their own in `words/`: the cause of an error, a duration.

They are put into words where they are shown, in the reader's language, so they may cross the control socket
as JSON before that.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import msgspec

Sentence = dict[str, Any]
"""`sentence`, a dotted key of `words/`, and its `facts`."""


def sentence(key: str, /, **facts: object) -> Sentence:
    """The sentence of a dotted key, such as `cause.timeout`, to be used as a fact of another one."""
    return {"sentence": key, "facts": facts}


def duration(seconds: float) -> Sentence:
    """How long something takes, in the largest unit of which there are at least two."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return sentence(f"duration.{unit}", n=round(seconds / length))
    return sentence("duration.seconds", n=round(seconds))


def cause_of(error: BaseException) -> Sentence:
    """Why something failed: `cause.…` for an error of the system or of a library, by its numbers and types,
    never by its English text, which may also hold a password."""
    chain = list(_chain(error))
    for known in (_known_cause, _cause_by_name):
        for each in chain:
            if found := known(each):
                return found
    for each in chain:
        if number := _error_number(each):
            code = errno.errorcode.get(number, str(number))
            return sentence("cause.system", code=code)
    return sentence("cause.other", code=type(error).__name__)


_CAUSES_BY_ERRNO = {
    number: cause
    for cause, numbers in {
        "permission": (errno.EACCES, errno.EPERM),
        "missing": (errno.ENOENT,),
        "folder": (errno.EISDIR,),
        "not-folder": (errno.ENOTDIR,),
        "exists": (errno.EEXIST, errno.ENOTEMPTY),
        "name-long": (errno.ENAMETOOLONG,),
        "link-loop": (errno.ELOOP,),
        "disk-full": (errno.ENOSPC, errno.EDQUOT),
        "read-only": (errno.EROFS,),
        "disk-error": (errno.EIO, errno.EUCLEAN),
        "too-large": (errno.EFBIG,),
        "files-open": (errno.EMFILE, errno.ENFILE),
        "memory": (errno.ENOMEM,),
        "busy": (errno.EBUSY, errno.ETXTBSY),
        "blocked": (errno.EAGAIN,),
        "device-cannot": (errno.ENXIO,),
        "device-gone": (errno.ENODEV, errno.ESHUTDOWN, errno.EBADF),
        "not-supported": (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL),
        "port-taken": (errno.EADDRINUSE,),
        "address-foreign": (errno.EADDRNOTAVAIL,),
        "refused": (errno.ECONNREFUSED,),
        "closed": (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN),
        "timeout": (errno.ETIMEDOUT,),
        "unreachable": (errno.EHOSTUNREACH, errno.EHOSTDOWN),
        "no-network": (errno.ENETUNREACH, errno.ENETDOWN),
    }.items()
    for number in numbers
}
_CAUSES_BY_SQLITE_CODE = {
    3: "permission",
    5: "busy",
    6: "busy",
    7: "memory",
    8: "read-only",
    10: "disk-error",
    11: "damaged",
    13: "disk-full",
    14: "not-openable",
    26: "damaged",
}
"""By the primary result code (sqlite.org/rescode.html)."""
_CAUSES_BY_VERIFY_CODE = {
    9: "certificate-early",
    10: "certificate-expired",
    18: "certificate-unknown",
    19: "certificate-unknown",
    20: "certificate-unknown",
    21: "certificate-unknown",
    62: "certificate-name",
    64: "certificate-name",
}
"""By the X509_V_ERR of OpenSSL (x509_vfy.h)."""
_PLAIN_PORT_REASONS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_CAUSES_BY_TYPE: dict[type[BaseException], str] = {
    UnicodeError: "encoding",
    RecursionError: "too-deep",
    MemoryError: "memory",
    EOFError: "closed",
    ConnectionResetError: "closed",
    BrokenPipeError: "closed",
    ConnectionRefusedError: "refused",
    FileNotFoundError: "missing",
    PermissionError: "permission",
    TimeoutError: "timeout",
}
_CAUSES_BY_NAME = {
    "Timeout": "timeout",
    "ProtocolError": "protocol",
    "Disconnected": "closed",
    "ReadError": "closed",
    "WriteError": "closed",
    "Connect": "no-connection",
    "bleak.": "bluetooth",
    "cv2.": "model-or-picture",
}
"""By a part of the name of a library's own error, with its module."""
_ERRNO_IN_TEXT = re.compile(r"\[Errno (\d+)\]")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that caused it: libraries wrap the system's errors in their own."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        if isinstance(following, BaseExceptionGroup):
            following = following.exceptions[0]
        else:
            following = following.__cause__ or following.__context__


def _known_cause(error: BaseException) -> Sentence | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return sentence(f"cause.{_CAUSES_BY_VERIFY_CODE.get(error.verify_code, 'certificate')}")
    if isinstance(error, ssl.SSLError):
        return sentence(f"cause.{_tls_cause(error)}")
    if isinstance(error, socket.gaierror):
        return sentence("cause.name-unknown")
    if found := _CAUSES_BY_ERRNO.get(_error_number(error) or 0):
        return sentence(f"cause.{found}")
    sqlite_code = getattr(error, "sqlite_errorcode", None)
    if isinstance(sqlite_code, int) and (found := _CAUSES_BY_SQLITE_CODE.get(sqlite_code & 0xFF)):
        return sentence(f"cause.{found}")
    return _cause_of_type(error)


def _cause_of_type(error: BaseException) -> Sentence | None:
    """The cause of an error that has no number."""
    if isinstance(error, msgspec.ValidationError):
        return _cause_of_wrong_field(str(error))
    if isinstance(error, ImportError):
        return sentence("cause.package", package=error.name or type(error).__name__)
    found = next((cause for kind, cause in _CAUSES_BY_TYPE.items() if isinstance(error, kind)), None)
    return sentence(f"cause.{found}") if found else _cause_of_form(error)


def _cause_by_name(error: BaseException) -> Sentence | None:
    """The cause by the name of a library's own error, where none of those behind it tells more."""
    name = f"{type(error).__module__}.{type(error).__name__}"
    found = next((cause for part, cause in _CAUSES_BY_NAME.items() if part in name), None)
    return sentence(f"cause.{found}") if found else None


def _cause_of_form(error: BaseException) -> Sentence | None:
    """Where a text does not fit its format, by what the parsers of JSON, XML and TOML tell."""
    text, facts = str(error), getattr(error, "__dict__", {})
    if isinstance(error, msgspec.DecodeError):
        at = re.search(r"byte (\d+)", text)
        return sentence("cause.not-json-at", byte=int(at[1])) if at else sentence("cause.not-complete")
    if isinstance(position := facts.get("position"), tuple):  # xml.etree.ElementTree.ParseError
        return sentence("cause.form-at", line=position[0], column=position[1] + 1)
    if "lineno" in facts and "colno" in facts:  # json.JSONDecodeError; tomllib from Python 3.14 on
        return sentence("cause.form-at", line=facts["lineno"], column=facts["colno"])
    if at := re.search(r"at line (\d+), column (\d+)", text):  # tomllib.TOMLDecodeError
        return sentence("cause.form-at", line=int(at[1]), column=int(at[2]))
    if "end of document" in text:  # tomllib.TOMLDecodeError
        return sentence("cause.not-complete")
    return None


def _error_number(error: BaseException) -> int | None:
    """Its errno: an attribute, the first argument of `termios.error`, or within the text that a library
    made of it."""
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    if type(error).__module__ == "termios" and error.args and isinstance(error.args[0], int):
        return error.args[0]
    found = _ERRNO_IN_TEXT.search(str(error))
    return int(found[1]) if found else None


def _tls_cause(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "closed"
    if error.reason in _PLAIN_PORT_REASONS:
        return "not-tls"
    if error.reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE"):
        return "certificate-file"
    return "tls"


def _cause_of_wrong_field(text: str) -> Sentence:
    """What `msgspec` did not accept, and where."""
    at = re.search(r"`\$\.?(.*?)`$", text)
    where = at[1] if at and at[1] else "–"
    if found := re.match(r"Object missing required field `(.+?)`", text):
        return sentence("cause.field-missing", field=found[1], where=where)
    if found := re.match(r"Object contains unknown field `(.+?)`", text):
        return sentence("cause.field-unknown", field=found[1], where=where)
    if found := re.match(r"Expected `(.+?)`, got `(.+?)`", text):
        wanted, got = (_type_in_words(found[group]) for group in (1, 2))
        return sentence("cause.field-type", wanted=wanted, got=got, where=where)
    return sentence("cause.field-wrong", where=where)


_TYPES = frozenset({"array", "bool", "bytes", "float", "int", "null", "object", "str"})
"""The names that `msgspec` has for them."""


def _type_in_words(names: str) -> Sentence | str:
    """A type, such as `int` or `str | null`, of which the first is told."""
    name = names.partition(" |")[0]
    return sentence(f"type.{name}") if name in _TYPES else names
