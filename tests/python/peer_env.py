# SPDX-License-Identifier: Apache-2.0
"""Import this first: makes the connectors of the installed vllm-omni wheel importable without torch and vllm.

The folder stubs/ stands in for torch, vllm and omegaconf. Four modules of vllm_omni are replaced because they would import
the rest of the world: vllm_omni itself, its config and platforms packages (empty, but with their real folders, so that what
lies below them is the wheel's), and inputs.data, of which one type alias is wanted. Connectors, serializer, factory,
configuration loader and the shared-memory functions are the wheel's own files.

It also offers what programs here need of it: `WHEEL`, the folder that has vllm_omni in it, and `VERSIONS`.
"""
import importlib.metadata
import importlib.machinery
import pathlib
import sys
import types
import typing

HERE = pathlib.Path(__file__).resolve().parent
STUBS = HERE / "stubs"
VERSION = "0.30.0"


def _find_wheel():
    try:
        wheel = importlib.metadata.distribution("vllm-omni")
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"peer_env: vllm-omni is not installed for {sys.executable}; run tests/python/setup.sh and use the Python it made")
    if wheel.version != VERSION:
        sys.exit(f"peer_env: vllm-omni {wheel.version} is installed, these tests are about {VERSION}; run tests/python/setup.sh")
    return wheel


def _package(name, **attributes):
    """A package that has the wheel's folder and none of the wheel's __init__."""
    module = types.ModuleType(name)
    folder = str(WHEEL.joinpath(*name.split(".")))
    module.__path__ = [folder]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__spec__.submodule_search_locations = [folder]
    module.__dict__.update(attributes)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def add_soft_pin():
    """MooncakeStoreConnector of this release sets `with_soft_pin`, which Mooncake 0.3.13.post1 does not have: an attribute that nobody reads takes its place."""
    from vllm_omni.distributed.omni_connectors.connectors import mooncake_store_connector as theirs

    if theirs.ReplicateConfig is not None and not hasattr(theirs.ReplicateConfig, "with_soft_pin"):
        theirs.ReplicateConfig = type("ReplicateConfig", (theirs.ReplicateConfig,), {"with_soft_pin": False})


def _install():
    loaded = [name for name in ("torch", "vllm", "vllm_omni", "omegaconf") if name in sys.modules]
    if loaded:
        sys.exit(f"peer_env: import it before {', '.join(loaded)}")
    sys.path.insert(0, str(STUBS))
    _package("vllm_omni", __version__=VERSION)
    _package("vllm_omni.config")
    _package("vllm_omni.platforms", current_omni_platform=None)
    _package("vllm_omni.inputs")
    sys.modules["vllm_omni.inputs.data"] = types.ModuleType("vllm_omni.inputs.data")
    sys.modules["vllm_omni.inputs.data"].OmniPromptType = typing.Any


_distribution = _find_wheel()
WHEEL = pathlib.Path(_distribution.locate_file("")).resolve()
SHIPPED = sorted(str(path) for path in _distribution.files)
VERSIONS = {name: importlib.metadata.version(name) for name in ("vllm-omni", "msgspec", "numpy", "pillow", "pyyaml", "pyzmq")}
_install()
