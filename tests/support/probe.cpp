// SPDX-License-Identifier: Apache-2.0
// Never compiled: CMake asks the target that owns it for the flags a user of all parts would get.
