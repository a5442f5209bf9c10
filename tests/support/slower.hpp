// SPDX-License-Identifier: Apache-2.0
// How much longer things take under the sanitizers.
#pragma once

namespace test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr unsigned slower = 10;
#else
inline constexpr unsigned slower = 1;
#endif

}  // namespace test
