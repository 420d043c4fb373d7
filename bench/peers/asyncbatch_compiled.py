"""asyncbatch with its core compiled: the same sources, through mypyc."""

from peers.asyncbatch import open as open, open_map as open_map

REQUIREMENTS = ["HATCH_BUILD_HOOK_ENABLE_MYPYC=1", "."]
KINDS = ["closed", "burst"]
