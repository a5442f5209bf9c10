# SPDX-License-Identifier: Apache-2.0
"""Plain loggers: who runs the code decides where they write."""
import logging


def init_logger(name):
    return logging.getLogger(name)
