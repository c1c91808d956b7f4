"""What comparisons of answers with Consul's share: patience, and the account of differences that have a reason."""

import sys
import time

PAUSE = 0.2


class Account:
    """`listed` are the rows of reasons; each has to be needed, or to say that it is only `sometimes`."""

    def __init__(self, listed):
        self.listed, self.used, self.failures, self.count = listed, set(), [], 0

    def take(self, compare, patience):
        """`compare` gives the numbers of the rows that one answer needs, and what no row allows. It is called again for so many
        seconds: what a catalog was told a moment ago is everywhere a moment later."""
        self.count += 1
        needed, unlisted = compare()
        until = time.monotonic() + patience
        while unlisted and time.monotonic() < until:
            time.sleep(PAUSE)
            needed, unlisted = compare()
        self.used |= needed
        self.failures += unlisted

    def close(self, what):
        """Prints all of it and ends the program."""
        for at, row in enumerate(self.listed):
            # What comes from the order of a hash map comes now and then.
            if at not in self.used and not row.get("sometimes"):
                self.failures.append(f"listed, and no difference needs it: {row}")
        print("\n".join(self.failures))
        print(f"beside Consul: {self.count} {what}, {len(self.listed)} reasons to differ, {len(self.failures)} failures")
        sys.exit(1 if self.failures else 0)
