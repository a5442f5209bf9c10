# SPDX-License-Identifier: Apache-2.0
"""As much of vllm as vLLM-Omni's connectors import: the logger, and the two output types which the serializer knows."""
