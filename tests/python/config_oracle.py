# SPDX-License-Identifier: Apache-2.0
"""What upstream's load_omni_transfer_config makes of configuration files, as one JSON document.

    config_oracle.py            every YAML that the wheel ships, named relative to the folder that `--root` prints
    config_oracle.py FILE...    these files, named as given
    config_oracle.py --root     that folder

The document maps each name to {"connectors": [{"from", "to", "name", "extra"}, ... sorted], "default": null or {"name", "extra"}}
or to {"error": "TYPE: text"}. Where upstream only logs what is wrong, the entry has "warnings": [text, ...] too; one without
any connector has "note": "no connectors".
"""
import json
import logging
import pathlib
import sys

import peer_env  # noqa: F401  first
from vllm_omni.distributed.omni_connectors import load_omni_transfer_config


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def described(spec):
    return {"name": spec.name, "extra": spec.extra}


def entry(path, warnings):
    warnings.texts = []
    try:
        config = load_omni_transfer_config(str(path))
    except Exception as error:
        made = {"error": f"{type(error).__name__}: {error}"}
    else:
        edges = sorted(config.connectors.items(), key=lambda item: tuple(map(str, item[0])))
        made = {
            "connectors": [{"from": str(source), "to": str(to), **described(spec)} for (source, to), spec in edges],
            "default": None if config.default_connector is None else described(config.default_connector),
        }
        if not edges:
            made["note"] = "no connectors"
    if warnings.texts:
        made["warnings"] = warnings.texts
    return made


def main(arguments):
    if arguments == ["--root"]:
        print(peer_env.WHEEL)
        return 0
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    if arguments:
        files = {name: pathlib.Path(name) for name in arguments}
    else:
        files = {name: peer_env.WHEEL / name for name in peer_env.SHIPPED if name.endswith((".yaml", ".yml"))}
        if not files:
            sys.exit("config_oracle: the wheel ships no YAML at all")
    json.dump({name: entry(path, warnings) for name, path in files.items()}, sys.stdout, indent=1, sort_keys=True, allow_nan=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
