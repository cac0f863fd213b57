"""llama.cpp's own server, out of the package xllamacpp, until it is told to end.

python -m selfhood.engine.llamacpp_child '{"model": ..., "loras": [...], ...}'
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

KEY = "SELFHOOD_CHILD_KEY"


def params_of(settings: Mapping[str, Any]) -> Any:
    """``settings`` -> llama.cpp's parameters."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.api_keys = [os.environ[KEY]]
    params.n_parallel = settings["num_replies"]
    params.n_ctx = settings["num_tokens"]
    params.kv_unified = True  # one long talk may use the room of several short ones
    params.cache_ram_mib = 0  # it does not know whose keys and values it keeps
    params.warmup = False
    params.ui = False
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in settings["loras"]
    ]
    return params


def main() -> None:
    import xllamacpp

    server = xllamacpp.Server(params_of(json.loads(sys.argv[1])))
    print(f"listening at {server.listening_address}", flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    main()
