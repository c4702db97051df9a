"""The allocator's settings."""

import platform

from turnwise.proxy.wire import malloc


def test_glibc_takes_the_settings_and_no_other_library_is_asked():
    assert malloc.tune() is (platform.libc_ver()[0] == "glibc")
