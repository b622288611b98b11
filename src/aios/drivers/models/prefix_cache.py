"""Keys and values of prompts' full blocks in a radix tree over tokens, a block to a node.

Only blocks that a prefill made are kept: the same tokens at the same place give the same bits, so a prompt
that begins with them need not compute them again. Each scope has a tree of its own: who is in another one
learns nothing of what was asked here, not even by how long an answer takes. What a snapshot needs is pinned
and stays; of the rest, leaves go: first those that no waiting prompt begins with, the least used first.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import KeysValues

Tokens = tuple[int, ...]


class Node:
    """A place in the tree: the root of a scope, or behind one block more."""

    __slots__ = ("after", "awaited", "before", "pins", "tokens", "values")

    def __init__(self, before: "Node | None", tokens: Tokens, values: KeysValues | None) -> None:
        self.before, self.tokens = before, tokens
        self.values = values
        """Keys and values of the block; None of a root."""
        self.after: dict[Tokens, Node] = {}
        self.pins = 0
        """Snapshots that need it."""
        self.awaited = 0
        """Waiting prompts that begin with it."""

    @property
    def num_bytes(self) -> int:
        return 0 if self.values is None else self.values.nbytes


class PrefixCache:
    """Nodes under a budget of `max_bytes` for those that nobody has pinned."""

    def __init__(self, max_bytes: int) -> None:
        self._roots: dict[str, Node] = {}
        self._nodes: OrderedDict[Node, None] = OrderedDict()
        """All but the roots, the least used first."""
        self._max_bytes = max_bytes
        self.num_bytes = 0
        """Of nodes that nobody has pinned."""
        self.pinned_bytes = 0
        """Of nodes that snapshots hold."""

    def root(self, scope: str) -> Node:
        """Where every prompt of a scope begins."""
        return self._roots.setdefault(scope, Node(None, (), None))

    def find(self, before: Node, tokens: Sequence[int]) -> Node | None:
        """The node of the block `tokens` after `before`, which becomes the last used."""
        node = before.after.get(tuple(tokens))
        if node is not None:
            self._nodes.move_to_end(node)
        return node

    def add(self, before: Node, tokens: Sequence[int], values: KeysValues) -> Node:
        """Keep a new block; others go where the budget asks for it, or else this one at once."""
        node = Node(before, tuple(tokens), values)
        if before.before is None or before in self._nodes:
            before.after[node.tokens] = node
            self._nodes[node] = None
            self.num_bytes += node.num_bytes
            self._shrink()
        return node

    def path(self, scope: str, prompt: Sequence[int]) -> Iterator[Node]:
        """The nodes that a prompt begins with, from the first on. They are not used by this."""
        node = self._roots.get(scope)
        for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
            node = None if node is None else node.after.get(tuple(prompt[start : start + BLOCK]))
            if node is None:
                return
            yield node

    def touch(self, nodes: Sequence[Node]) -> None:
        """A prompt has used these, from the first to the last: the first are needed longest."""
        for node in reversed(nodes):
            if node in self._nodes:
                self._nodes.move_to_end(node)

    def expect(self, nodes: Sequence[Node], change: int) -> None:
        """So many more waiting prompts begin with these nodes; -1 when one waits no longer."""
        for node in nodes:
            node.awaited += change

    def pin(self, nodes: Sequence[Node]) -> None:
        """A snapshot holds these from now on."""
        for node in nodes:
            node.pins += 1
            if node.pins == 1:
                self.pinned_bytes += node.num_bytes
                self.num_bytes -= node.num_bytes if node in self._nodes else 0

    def unpin(self, nodes: Sequence[Node]) -> None:
        """A snapshot that held these is gone."""
        for node in nodes:
            node.pins -= 1
            if node.pins == 0:
                self.pinned_bytes -= node.num_bytes
                self.num_bytes += node.num_bytes if node in self._nodes else 0
        self._shrink()

    def check(self) -> None:
        """The sums are what they say, and the tree is one."""
        free = [node for node in self._nodes if not node.pins]
        assert self.num_bytes == sum(node.num_bytes for node in free)
        assert self.num_bytes <= self._max_bytes
        for node in self._nodes:
            assert node.pins >= 0 <= node.awaited
            assert node.before is not None
            assert node.before.after[node.tokens] is node
            assert node.before.before is None or node.before in self._nodes

    def _shrink(self) -> None:
        while self.num_bytes > self._max_bytes and (node := self._victim()) is not None:
            assert node.before is not None
            del node.before.after[node.tokens]
            del self._nodes[node]
            self.num_bytes -= node.num_bytes

    def _victim(self) -> Node | None:
        """The least used leaf that nobody has pinned, of those that are not awaited if there are any."""
        awaited = None
        for node in self._nodes:
            if node.after or node.pins:
                continue
            if not node.awaited:
                return node
            awaited = awaited or node
        return awaited
