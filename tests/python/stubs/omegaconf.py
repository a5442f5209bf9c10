# SPDX-License-Identifier: Apache-2.0
"""Names which a module of vLLM-Omni imports and which the connectors never call."""


class DictConfig:
    pass


class OmegaConf:
    pass
