// SPDX-License-Identifier: Apache-2.0
// Precompiled for all test programs. None of our own headers: a change there must not rebuild everything.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
