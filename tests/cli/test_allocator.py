import platform
import subprocess
import sys

import pytest

SCRIPT = """
import re, sys
from striate.cli.allocator import return_freed_memory
if sys.argv[1] == "True":
    return_freed_memory()
large = bytearray(30_000_000)
del large  # From now on glibc would keep blocks of this size.
blocks = [bytearray(8_000_000) for _ in range(12)]
last = blocks.pop()
del blocks
print(1000 * int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_blocks_are_given_back_though_a_later_one_is_in_use() -> None:
    def resident(is_returned: bool) -> int:
        command = [sys.executable, "-c", SCRIPT, str(is_returned)]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert resident(False) - resident(True) > 80_000_000
