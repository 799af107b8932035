"""What the keys of the demo do: break things, on both sides, while one watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from tidegate.kernel.errors import TidegateError

DROP_SHARE = 0.3
DROP_SECONDS = 15.0
ROLES = ("dispatch", "apply", "door", "postgres")


class Breakable(Protocol):
    """A play, as far as keys reach."""

    @property
    def is_over(self) -> bool:
        """Whether nobody shops any more."""

    def end_shopping(self) -> None:
        """Let everybody go home."""

    def kill(self, role: str) -> int | None:
        """Kill -9 one of our processes; return its pid."""

    async def kill_naive(self) -> int | None:
        """Kill -9 the naive script and start it again; return its pid."""

    async def drop_webhooks(self, share: float, seconds: float) -> None:
        """Let this share of all webhooks go lost for so long."""


class Hands:
    """Whoever presses the keys. Before the doors open only `q` does something: it stops everything."""

    def __init__(self, play: Breakable, say: Callable[[str], None], stop: Callable[[], object]) -> None:
        self._play = play
        self._say = say
        self._stop = stop
        self._kills = 0
        self.is_open = False
        """Whether people shop, or have."""

    async def obey(self, keys: AsyncIterator[str]) -> None:
        """Do what each key says until there are no more. What cannot be done is said, and the next key counts again."""
        async for key in keys:
            try:
                await self.press(key)
            except TidegateError as error:
                self._say(f"that did not work: {error}")

    async def press(self, key: str) -> None:
        """Do what one key says; one that means nothing does nothing."""
        if key == "q" and not self.is_open:
            self._stop()
        elif key == "q":
            self.go_home()
        elif key == "k" and self.is_open:
            role = ROLES[self._kills % len(ROLES)]
            self._kills += 1
            pid = self._play.kill(role)
            self._say(f"kill -9 {role} (pid {pid})" if pid else f"there is no {role} just now")
        elif key == "n" and self.is_open:
            pid = await self._play.kill_naive()
            self._say(f"kill -9 the naive script (pid {pid}); it begins again and remembers nothing")
        elif key == "d" and self.is_open:
            await self._play.drop_webhooks(DROP_SHARE, DROP_SECONDS)
            self._say(f"{DROP_SHARE:.0%} of the shops' webhooks go lost for {DROP_SECONDS:.0f} s, on both sides")

    def interrupt(self) -> None:
        """Ctrl-C: people go home the first time; everything stops the second time, or before the doors open."""
        if self.is_open and not self._play.is_over:
            self.go_home()
        else:
            self._stop()

    def go_home(self) -> None:
        """End shopping, once."""
        if not self._play.is_over:
            self._say("nobody shops any more; what was bought is carried out (Ctrl-C: stop now)")
            self._play.end_shopping()
