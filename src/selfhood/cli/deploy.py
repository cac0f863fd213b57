"""``selfhood deploy``: a server with OpenAI's protocol."""

from __future__ import annotations

import os

from selfhood import api, console
from selfhood.recipe import DeployOptions

KEY_VARIABLE = "SELFHOOD_API_KEY"


def run(options: DeployOptions) -> int:
    if options.sampling.merge_lora:
        console.say("note: --merge_lora: an adapter answers as the merged model would")
    api.deploy(options, key=options.server.api_key or os.environ.get(KEY_VARIABLE) or None)
    return 0
