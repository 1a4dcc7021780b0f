"""Drives the official client: one JSON question per line of standard input, one JSON answer per line of standard output.

Usage: client.py stdio PROGRAM ARGUMENTS…   or   client.py http URL TOKEN
"""

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters
from mcp.types import PromptReference, ResourceTemplateReference


def server(arguments):
    kind, where, *rest = arguments
    if kind == "stdio":
        return StdioServerParameters(command=where, args=rest, env=dict(os.environ))
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(
        where, http_client=httpx2.AsyncClient(headers={"Authorization": f"Bearer {rest[0]}"}, timeout=60)
    )


def plain(result):
    return result.model_dump(mode="json", by_alias=True)


async def answer(client, question):
    what = question["ask"]
    if what == "tools":
        return plain(await client.list_tools())
    if what == "call":
        told = []

        async def progress(done, total, message):
            told.append(message)

        result = plain(
            await client.call_tool(question["name"], question.get("arguments", {}), progress_callback=progress)
        )
        return {**result, "told": told}
    if what == "resources":
        return plain(await client.list_resources())
    if what == "templates":
        return plain(await client.list_resource_templates())
    if what == "read":
        return plain(await client.read_resource(question["uri"]))
    if what == "prompts":
        return plain(await client.list_prompts())
    if what == "prompt":
        return plain(await client.get_prompt(question["name"], question.get("arguments", {})))
    if what == "complete":
        of = question["ref"]
        kind = PromptReference if of["type"] == "ref/prompt" else ResourceTemplateReference
        return plain(await client.complete(kind(**of), question["argument"]))
    raise ValueError(what)


async def main():
    async with Client(server(sys.argv[1:])) as client:
        print(json.dumps({"ready": True}), flush=True)
        while True:
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                return
            try:
                said = {"answer": await answer(client, json.loads(line))}
            except Exception as error:  # whatever the client makes of it is for the test to judge
                said = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(said), flush=True)


asyncio.run(main())
