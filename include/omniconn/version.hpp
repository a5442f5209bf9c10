// SPDX-License-Identifier: Apache-2.0
// The one place where the version is written; CMake reads it from here.
#pragma once

#define OMNICONN_VERSION_MAJOR 0
#define OMNICONN_VERSION_MINOR 1
#define OMNICONN_VERSION_PATCH 0

/// The version as one integer, comparable in `#if`: 10000 * major + 100 * minor + patch.
#define OMNICONN_VERSION (OMNICONN_VERSION_MAJOR * 10000 + OMNICONN_VERSION_MINOR * 100 + OMNICONN_VERSION_PATCH)
