# SPDX-License-Identifier: Apache-2.0
"""The output types of vllm which the serializer writes as maps and restores: their fields, in vllm's order, and nothing else."""
from dataclasses import dataclass
from typing import Any


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Any
    cumulative_logprob: Any
    logprobs: Any
    routed_experts: Any = None
    finish_reason: Any = None
    stop_reason: Any = None
    lora_request: Any = None


class RequestOutput:
    """Not a dataclass in vllm either; unknown arguments are dropped there too."""

    def __init__(
        self, request_id, prompt, prompt_token_ids, prompt_logprobs, outputs, finished, metrics=None, lora_request=None,
        encoder_prompt=None, encoder_prompt_token_ids=None, num_cached_tokens=None, *, kv_transfer_params=None, **dropped,
    ):  # fmt: skip
        self.request_id = request_id
        self.prompt = prompt
        self.prompt_token_ids = prompt_token_ids
        self.prompt_logprobs = prompt_logprobs
        self.outputs = outputs
        self.finished = finished
        self.metrics = metrics
        self.lora_request = lora_request
        self.encoder_prompt = encoder_prompt
        self.encoder_prompt_token_ids = encoder_prompt_token_ids
        self.num_cached_tokens = num_cached_tokens
        self.kv_transfer_params = kv_transfer_params
