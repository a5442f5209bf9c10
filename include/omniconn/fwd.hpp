// SPDX-License-Identifier: Apache-2.0
// Declarations for headers that only name our types. Includes nothing heavy; never forward-declare by hand.
#pragma once

#include <cstddef>
#include <cstdint>

#include <omniconn/config.hpp>

OMNICONN_BEGIN_NAMESPACE

enum class error_kind : std::uint8_t;
class error;
class diagnosis;
template <class T, class E>
class result;

class blob;
class gather_list;
class value;
class tensor_view;
class locator;
class deadline;
struct edge;
struct receipt;
struct put_options;
struct get_options;
struct health_report;

class any_connector;

OMNICONN_END_NAMESPACE
