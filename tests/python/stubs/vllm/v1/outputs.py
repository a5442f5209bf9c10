# SPDX-License-Identifier: Apache-2.0
"""Only a base class for a type of vLLM-Omni which the connectors never make."""
from dataclasses import dataclass


@dataclass
class ModelRunnerOutput:
    req_ids: list
