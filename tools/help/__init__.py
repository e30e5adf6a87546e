"""Help pages and translations of the nodes: hand-written sentences here, tables from the nodes' declarations.

    python -m facestylist.tools.help

writes web/docs/<NodeId>.md, docs/nodes.md, the defaults in docs/method.md, and locales/{en,zh}/{main,nodeDefs}.json.
What a person writes: an introduction and a worked example per node in `*.md` of this folder, one file per category, and
the Chinese texts in `zh/*.txt`.
"""

from __future__ import annotations
