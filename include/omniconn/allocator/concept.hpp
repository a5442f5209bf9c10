// SPDX-License-Identifier: Apache-2.0
// The contract of an Allocator: how blocks are carved, never where the memory comes from. docs/concepts/allocator.md has it as a table.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// What an allocator has and gives.
struct allocator_usage {
  std::uint64_t capacity = 0;      ///< bytes it may hand out now
  std::uint64_t used = 0;          ///< bytes handed out, rounding included
  std::uint64_t largest_free = 0;  ///< the biggest block that would succeed now
  std::uint64_t blocks = 0;        ///< blocks handed out
  std::uint64_t high_water = 0;    ///< the most bytes ever handed out at once
};

/// Alignment of every payload: a cache line, which is enough for any SIMD load and keeps two objects off one line.
inline constexpr std::size_t block_alignment = 64;

/// Common to both kinds. Not thread-safe: the connector serialises the calls, except where `concurrent` is true.
template <class A>
concept allocator_basics = std::movable<A> && std::default_initializable<typename A::options> && requires(A& a, A const& c, std::byte* p, std::size_t n) {
  { A::name } -> std::convertible_to<std::string_view>;
  { A::concurrent } -> std::convertible_to<bool>;
  // At least n bytes aligned to block_alignment; n = 0 gives a block of its own, too. `no_space`: nothing fits.
  { a.allocate(n) } -> std::same_as<result<mutable_bytes>>;
  // p: the start of a block of this allocator. false: it is none (double free, foreign pointer), and nothing was changed.
  { a.deallocate(p) } noexcept -> std::same_as<bool>;
  { c.usage() } noexcept -> std::same_as<allocator_usage>;
};

/// Carves the memory of a transport. `extend` follows a `grow` of the region: the base stays, `committed` rises.
template <class A>
concept region_allocator = allocator_basics<A> && requires(A& a, typename A::options const& o, std::byte* base, std::size_t committed) {
  A(o, base, committed);
  { a.extend(committed) } -> std::same_as<void>;
};

/// Brings memory of its own; a block can be disposed of by anybody, on any thread, through a plain function.
template <class A>
concept free_allocator = allocator_basics<A> && A::concurrent && requires(typename A::options const& o, std::uint64_t token) {
  A(o);
  { A::dispose(token) } noexcept -> std::same_as<void>;  // token: the block's address
};

template <class A>
concept allocator_policy = region_allocator<A> || free_allocator<A>;

template <class A>
consteval bool explain_allocator() {
  static_assert(allocator_basics<A>, "omniconn: an allocator needs `options`, static `name` and `concurrent`, allocate, deallocate and usage; see docs/concepts/allocator.md");
  static_assert(region_allocator<A> || free_allocator<A>, "omniconn: an allocator carves a region (constructor from options, base, committed; extend) or brings its own memory (constructor from options; static dispose); see docs/concepts/allocator.md");
  return allocator_policy<A>;
}

OMNICONN_END_NAMESPACE
