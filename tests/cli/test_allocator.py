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


FAULTS = """
import resource, sys
from striate.cli.allocator import keep_freed_memory
if sys.argv[1] == "True":
    keep_freed_memory()
for turn in range(6):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large = bytearray(b"1") * 80_000_000
    del large
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_blocks_that_are_kept_are_taken_from_the_system_once() -> None:
    def faults(is_kept: bool) -> int:
        command = [sys.executable, "-c", FAULTS, str(is_kept)]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert faults(True) < faults(False) / 5
