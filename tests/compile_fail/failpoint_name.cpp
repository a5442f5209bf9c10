// SPDX-License-Identifier: Apache-2.0
// A failpoint whose name is not in the list could be reached by no test.
// expect-error 1: no_such_failpoint_add_it_to_failpoint_names
#include <omniconn/detail/failpoint.hpp>

void good() { omniconn::detail::failpoint("shm.put.ready"); }
#if defined(OMNICONN_EXPECT_ERROR)
void bad() { omniconn::detail::failpoint("shm.put.redy"); }
#endif
