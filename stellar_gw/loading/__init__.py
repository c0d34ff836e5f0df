"""From a YAML file to attrs records, where every error names file, line, key, and what it must be.

Four steps, a file each: ``documents`` reads YAML into nodes that know their place, ``references`` fills in
``${cred:}``, ``${file:}`` and ``${env:}``, ``rules`` say what one value must be, and ``structure`` makes
records of nodes. cattrs walks the records (and refuses unknown keys); the values are ours to read, because
a scalar keeps its spelling here and the target type alone decides what it means.
"""

from stellar_gw.loading.documents import parse, read_file
from stellar_gw.loading.problems import NOWHERE, Place, Problems, printable
from stellar_gw.loading.references import References
from stellar_gw.loading.structure import Structure

__all__ = ["NOWHERE", "Place", "Problems", "References", "Structure", "parse", "printable", "read_file"]
