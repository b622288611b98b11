"""Memory by the frame: what is kept comes back, and what is not goes back to the system."""

import random

from aios.kernel.histories.frames import FRAME, REGION, Frames


def test_what_is_put_in_comes_out():
    frames = Frames()
    for size in (0, 1, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME + 7, REGION + 3):
        data = random.Random(size).randbytes(size)
        kept = frames.put(data)
        assert len(kept) == -(-size // FRAME)
        assert frames.get(kept, size) == data


def test_appending_fills_the_last_frame_first():
    frames, chance = Frames(), random.Random(1)
    kept, data = frames.put(b""), b""
    for _ in range(200):
        more = chance.randbytes(chance.choice((0, 1, 7, 255, 256, 257, 600)))
        frames.append(kept, len(data), more)
        data += more
        assert len(kept) == -(-len(data) // FRAME)
    assert frames.get(kept, len(data)) == data


def test_frames_are_used_again_and_regions_go_back():
    frames, chance = Frames(), random.Random(2)
    kept = {}
    for step in range(4000):
        if chance.random() < 0.6 or not kept:
            data = chance.randbytes(chance.randrange(5000))
            kept[step] = (frames.put(data), data)
        else:
            numbers, data = kept.pop(chance.choice(list(kept)))
            assert frames.get(numbers, len(data)) == data
            frames.free(numbers)
    assert frames.num_used == sum(len(numbers) for numbers, _ in kept.values())
    assert all(frames.get(numbers, len(data)) == data for numbers, data in kept.values())
    most = frames.touched_bytes
    assert most < 1.2 * frames.used_bytes + REGION
    for numbers, _ in kept.values():
        frames.free(numbers)
    assert frames.num_used == 0
    assert frames.touched_bytes <= 2 * REGION < most
    data = chance.randbytes(3 * REGION)
    assert frames.get(frames.put(data), len(data)) == data
