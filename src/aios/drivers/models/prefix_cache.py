"""Keys and values of prompts' full blocks in a radix tree over tokens, a block to a node.

Only blocks that a prefill made are kept: the same tokens at the same place give the same bits, so a prompt
that begins with them need not compute them again. Each scope has a tree of its own: who is in another one
learns nothing of what was asked here, not even by how long an answer takes. What a snapshot needs is pinned
and stays; of the rest, leaves go: first those that no waiting prompt begins with.

Most blocks are asked for once. So those that were asked for again have a queue of their own, which the others
cannot push out: the longer of both queues gives its least used leaf. What has just been let go is remembered
by a hash and, if it comes back, counts as asked for again (T. Johnson and D. Shasha, "2Q: a low overhead high
performance buffer management replacement algorithm", VLDB 1994).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import KeysValues

Tokens = tuple[int, ...]


class Node:
    """A place in the tree: the root of a scope, or behind one block more."""

    __slots__ = ("after", "awaited", "before", "is_again", "path", "pins", "tokens", "values")

    def __init__(
        self, before: "Node | None", tokens: Tokens, values: KeysValues | None, scope: str = ""
    ) -> None:
        self.before, self.tokens = before, tokens
        self.path: int = hash((scope if before is None else before.path, tokens))
        """The same for the same blocks of the same scope."""
        self.is_again = False
        """Whether more than one prompt asked for it."""
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
        self._once: OrderedDict[Node, None] = OrderedDict()
        """Nodes that one prompt asked for, the least used first,"""
        self._again: OrderedDict[Node, None] = OrderedDict()
        """and those that more did. Roots are in neither."""
        self._gone: OrderedDict[int, None] = OrderedDict()
        """Paths of the nodes that went last, as many as there are nodes."""
        self._max_bytes = max_bytes
        self.num_bytes = 0
        """Of nodes that nobody has pinned."""
        self.pinned_bytes = 0
        """Of nodes that snapshots hold."""

    def root(self, scope: str) -> Node:
        """Where every prompt of a scope begins."""
        return self._roots.setdefault(scope, Node(None, (), None, scope))

    def find(self, before: Node, tokens: Sequence[int]) -> Node | None:
        """The node of the block `tokens` after `before`, which becomes the last used."""
        node = before.after.get(tuple(tokens))
        if node is not None:
            del self._queue(node)[node]
            node.is_again = True
            self._again[node] = None
        return node

    def add(self, before: Node, tokens: Sequence[int], values: KeysValues) -> Node:
        """Keep a new block; others go where the budget asks for it, or else this one at once."""
        node = Node(before, tuple(tokens), values)
        if before.before is None or self._has(before):
            before.after[node.tokens] = node
            node.is_again = node.path in self._gone
            self._gone.pop(node.path, None)
            self._queue(node)[node] = None
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
            if self._has(node):
                self._queue(node).move_to_end(node)

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
                self.num_bytes -= node.num_bytes if self._has(node) else 0

    def unpin(self, nodes: Sequence[Node]) -> None:
        """A snapshot that held these is gone."""
        for node in nodes:
            node.pins -= 1
            if node.pins == 0:
                self.pinned_bytes -= node.num_bytes
                self.num_bytes += node.num_bytes if self._has(node) else 0
        self._shrink()

    def check(self) -> None:
        """The sums are what they say, and the tree is one."""
        nodes = [*self._once, *self._again]
        assert not any(node.is_again for node in self._once)
        assert all(node.is_again for node in self._again)
        assert len(self._gone) <= len(nodes)
        free = [node for node in nodes if not node.pins]
        assert self.num_bytes == sum(node.num_bytes for node in free)
        assert self.num_bytes <= self._max_bytes
        for node in nodes:
            assert node.pins >= 0 <= node.awaited
            assert node.before is not None
            assert node.before.after[node.tokens] is node
            assert node.before.before is None or self._has(node.before)

    def _queue(self, node: Node) -> OrderedDict[Node, None]:
        return self._again if node.is_again else self._once

    def _has(self, node: Node) -> bool:
        return node in self._queue(node)

    def _shrink(self) -> None:
        while self.num_bytes > self._max_bytes and (node := self._victim()) is not None:
            assert node.before is not None
            del node.before.after[node.tokens]
            del self._queue(node)[node]
            self._gone[node.path] = None
            self.num_bytes -= node.num_bytes
        while len(self._gone) > len(self._once) + len(self._again):
            self._gone.popitem(last=False)

    def _victim(self) -> Node | None:
        """The least used leaf of the longer queue, or else of the other. What is awaited goes last."""
        queues = (self._once, self._again)
        queues = queues if len(self._once) >= len(self._again) else queues[::-1]
        awaited = None
        for queue in queues:
            for node in queue:
                if node.after or node.pins:
                    continue
                if not node.awaited:
                    return node
                awaited = awaited or node
        return awaited
