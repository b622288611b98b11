"""The radix trie: text goes in where others have written the same, and parts from them where it differs.

A node is split where two texts part, and joined again with its only child where the other one is gone. Two
messages that differ share their beginning only where that is long (`nodes.SHARED_BYTES`); whole messages are
always shared. Whoever writes the same text cannot tell whether it was there before.

Owns the roots and the shape; each method runs inside one transaction. After D. R. Morrison, "PATRICIA",
J. ACM 15(4), 1968, with bytes where that has bits.
"""

import apsw
from msgspec import Struct
from msgspec.structs import replace

from aios.abi.errors import Corrupt
from aios.kernel.histories import book, nodes
from aios.kernel.histories.nodes import NEWLINE, NODE_BYTES, SHARED_BYTES, Node, Text, head_of, key_of


class Grown(Struct, frozen=True):
    """Text was added to a node from position `at` on."""

    node_id: int
    at: int
    text: bytes


class Gone(Struct, frozen=True):
    """A node is no more."""

    node_id: int


Change = Text | Grown | Gone
"""What became of a node. `Text` is all of it, as it now is."""


class End(Struct, frozen=True):
    """Where a history ends: in which node, and after how much."""

    node: Node
    num_messages: int
    num_bytes: int


class Trie:
    """Changes tries within one transaction, and remembers what it changed."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._texts: dict[int, bytes] = {}
        self.changes: list[Change] = []

    def root(self, tenant: str) -> Node:
        """Where the trie of a tenant begins, which is made where there is none."""
        query = "SELECT root FROM history_tries WHERE tenant = ?"
        found = self._connection.execute(query, (tenant,)).get
        if found is not None:
            return nodes.get(self._connection, found)
        root = nodes.add_root(self._connection)
        self._connection.execute("INSERT INTO history_tries VALUES (?, ?)", (tenant, root.id))
        return root

    def put(self, end: End, text: bytes) -> tuple[End, list[Node]]:
        """Append whole lines to a history. Where it ends then, and the nodes from the one it ended in on."""
        path, done, at = [end.node], 0, end.num_bytes
        messages, counted = end.num_messages, 0
        while done < len(text):
            node = path[-1]
            if at < node.end:
                size, path[-1] = self._follow(node, at, text, done)
            elif child := self._child(node, head_of(text, done)):
                size = 0
                path.append(child)
            elif size := self._room(node, text, done):
                path[-1] = self._extend(node, text[done : done + size])
            else:
                messages, counted = messages + text.count(b"\n", counted, done), done
                is_inside = done > 0 and text[done - 1] != NEWLINE
                size = _fitting(text, done, NODE_BYTES) or NODE_BYTES
                path.append(self._add(node, 2 * messages + is_inside, text[done : done + size]))
            at, done = at + size, done + size
        return End(path[-1], end.num_messages + text.count(b"\n"), at), path

    def back_to(self, end: End, num_messages: int) -> End:
        """Where the history ended when it had so many messages, at least one."""
        node = end.node
        while node.place >= 2 * num_messages:
            node = self._parent(node)
        text, at = self._text(node), 0
        for _ in range(num_messages - node.place // 2):
            at = text.index(b"\n", at) + 1
        return End(node, num_messages, node.start + at)

    def release(self, node_id: int) -> None:
        """Remove what no history has any more, now that one ends in this node no longer."""
        try:
            node = nodes.get(self._connection, node_id)
            while node.parent is not None and not self._is_kept(node):
                above = self._parent(node)
                self._drop(node)
                node = above
        except Corrupt:
            return  # What is damaged stays, and with it what only it could tell to be needed by none.

    def put_apart(self, end: End, line: bytes) -> tuple[End, Node]:
        """Append a line in a node of its own, which is found damaged when it is read."""
        above = end.node if end.num_bytes == end.node.end else self._split(end.node, end.num_bytes)
        line = line[:-1].ljust(NODE_BYTES) + b"\n"  # Full, so that nothing that is whole comes into it.
        node = self._add(above, 2 * end.num_messages, line)
        nodes.damage(self._connection, node)
        del self._texts[node.id]
        return End(node, end.num_messages + 1, node.end), node

    # ---- one step of putting in

    def _follow(self, node: Node, at: int, text: bytes, done: int) -> tuple[int, Node]:
        """How far `text` is what the node goes on with, and the node that ends there or goes on beyond."""
        known = self._text(node)[at - node.start :]
        same = common(known, text[done : done + len(known)])
        if same == min(len(known), len(text) - done):
            return same, node
        line = known.rfind(b"\n", 0, same) + 1
        size = same if same - line >= SHARED_BYTES else line
        return size, self._split(node, at + size)

    def _child(self, node: Node, head: bytes) -> Node | None:
        """The child that goes on so. One that is damaged is not gone on with."""
        for child in nodes.children_like(self._connection, node, head):
            try:
                if self._text(child).startswith(head):
                    return child
            except Corrupt:
                continue
        return None

    def _room(self, node: Node, text: bytes, done: int) -> int:
        """How much of `text` the node takes: whole lines, and nothing where others go on from its end."""
        if node.parent is None or nodes.children(self._connection, node, 1):
            return 0
        return _fitting(text, done, NODE_BYTES - node.size)

    def _extend(self, node: Node, text: bytes) -> Node:
        longer = replace(node, end=node.end + len(text))
        if nodes.wants_packing(longer):
            try:
                whole = self._text(node) + text
                return self._changed(nodes.rewrite(self._connection, longer, whole), whole)
            except Corrupt:
                pass  # It can grow all the same; what is damaged is found out when it is read.
        self._texts.pop(node.id, None)
        self.changes.append(Grown(node.id, node.end, text))
        return nodes.extend(self._connection, node, text)

    def _add(self, above: Node, place: int, text: bytes) -> Node:
        if (packed := nodes.compress(self._connection, above)) is not None:
            self.changes.append(packed)  # It is full, or others go on from it: it grows no more.
        child = Node(0, above.id, key_of(head_of(text)), above.end, place, above.end, above.end + len(text))
        return self._changed(nodes.add(self._connection, child, text), text)

    # ---- shape

    def _split(self, node: Node, at: int) -> Node:
        """Part a node in two; the upper one, a new one, is answered."""
        text = self._text(node)
        upper_text, lower_text = text[: at - node.start], text[at - node.start :]
        upper = replace(node, id=0, packed=node.start, end=at)
        upper = self._changed(nodes.add(self._connection, upper, upper_text), upper_text)
        messages = node.place // 2 + upper_text.count(b"\n")
        place = 2 * messages + (upper_text[-1] != NEWLINE)
        lower = replace(node, parent=upper.id, key=key_of(head_of(lower_text)), start=at, place=place)
        self._changed(nodes.rewrite(self._connection, lower, lower_text), lower_text)
        book.move_ends(self._connection, node.id, upper.id, at)
        return upper

    def _is_kept(self, node: Node) -> bool:
        """Whether a node is needed still; what of it is not is cut off, or it is joined with what follows."""
        below = nodes.children(self._connection, node, 2)
        last = book.last_end(self._connection, node.id)
        if len(below) == 1:
            self._join(node, nodes.get(self._connection, below[0]))
        elif not below and 0 < last < node.end:
            self._cut(node, last)
        return bool(below) or last > 0

    def _join(self, node: Node, child: Node) -> None:
        if child.end - node.start > NODE_BYTES:
            return
        text = self._text(node) + self._text(child)
        whole = replace(child, parent=node.parent, key=node.key, start=node.start, place=node.place)
        self._changed(nodes.rewrite(self._connection, whole, text), text)
        book.move_ends(self._connection, node.id, child.id, node.end)
        self._drop(node)

    def _cut(self, node: Node, at: int) -> None:
        """Forget a node's text from a position on. What is left is a new node: see `nodes`."""
        text = self._text(node)[: at - node.start]
        left = self._changed(
            nodes.add(self._connection, replace(node, id=0, packed=node.start, end=at), text), text
        )
        book.move_ends(self._connection, node.id, left.id, at)
        self._drop(node)

    def _drop(self, node: Node) -> None:
        nodes.delete(self._connection, node)
        self.changes.append(Gone(node.id))

    def _changed(self, text: Text, plain: bytes) -> Node:
        self.changes.append(text)
        self._texts[text.node.id] = plain
        return text.node

    def _text(self, node: Node) -> bytes:
        found = self._texts.get(node.id)
        if found is None:
            found = self._texts[node.id] = nodes.text_of(self._connection, node).plain()
        return found

    def _parent(self, node: Node) -> Node:
        if node.parent is None:
            raise Corrupt("a part of the history is missing")
        return nodes.get(self._connection, node.parent)


def common(one: bytes, other: bytes) -> int:
    """How many bytes the two begin with alike."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _fitting(text: bytes, at: int, room: int) -> int:
    """The bytes of the whole lines from `at` on that have room."""
    return max(0, text.rfind(b"\n", at, at + room) + 1 - at)
