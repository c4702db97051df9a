"""The path of the socket: nobody but this user may connect, and nothing is taken from a gateway that lives."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from pathlib import Path

MODE, FOLDER_MODE = 0o600, 0o700
PATIENCE_S = 1.0
"""How long a gateway that listens at a path may take to accept."""


class SocketPath:
    """One path, from `listen` to `remove`."""

    def __init__(self, path: str) -> None:
        self._place = Path(path)
        self._inode = 0

    def listen(self) -> socket.socket:
        """A socket that listens there, mode 0600; what a gateway left there that has ended is removed.

        A missing folder is made, for this user alone. Raises `OSError` where another process listens there,
        where something else than a socket stands, or none can be made.
        """
        self._place.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        _clear(self._place)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._place))
            # Nobody can connect before it listens, so that there is no moment at which others may.
            self._place.chmod(MODE)
            self._inode = self._place.lstat().st_ino
            listener.listen()
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    def remove(self) -> None:
        """Remove the socket that was made, if it is still that one: another gateway may have come since."""
        with contextlib.suppress(FileNotFoundError):
            if self._place.lstat().st_ino == self._inode:
                self._place.unlink()


def _clear(place: Path) -> None:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "what stands there is no socket", str(place))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(PATIENCE_S)
        try:
            knock.connect(str(place))
        except (ConnectionRefusedError, FileNotFoundError):
            place.unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, "another gateway listens there", str(place))
