"""`aios serve` as a process of its own, and the commands that find it."""

import json
import signal


async def test_serve_is_found_and_ends_on_ctrl_c(start, aios, data):
    process = start("--json")
    ready = json.loads(process.stdout.readline())
    assert ready["socket"] == str(data / "aios.sock")
    token = json.loads((await aios("call", "process.spawn", "agent=me", "durable=true")).stdout)["token"]
    over_http = await aios("--url", ready["url"], "--token", token, "ps", "--json")
    assert [entry["agent"] for entry in json.loads(over_http.stdout)["processes"]] == ["me"]
    second = await aios("serve")
    assert (second.exit_code, "already running" in second.stderr) == (2, True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_serve_says_how_to_get_a_key(start):
    process = start()
    lines = [process.stdout.readline() for _ in range(8)]
    said = "".join(lines)
    assert "http://127.0.0.1:" in lines[0]
    assert "aios call process.spawn agent=me durable=true" in said
    assert "OPENAI_BASE_URL=" in said
    assert "far: some-model" in said
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
