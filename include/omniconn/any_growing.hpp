// SPDX-License-Identifier: Apache-2.0
// The ends of an object that grows, of whatever connector: what put_growing and get_growing make of an any_connector.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <omniconn/config.hpp>
#include <omniconn/connector_concept.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/deadline.hpp>
#include <omniconn/core/result.hpp>
#include <omniconn/growing.hpp>

OMNICONN_BEGIN_NAMESPACE

namespace detail {
inline error no_growing_end() noexcept { return {error_kind::closed, "this end of a growing object is empty: it was never made, or moved from"}; }
}  // namespace detail

/// The writer's end: a `growing_put` of any connector, whose calls mean and fail as there. It costs one allocation, and each call is an indirect one. May outlive the connector.
/// An empty one (default-constructed or moved from) answers `closed`. \threadsafety one thread at a time
class any_growing_put {
 public:
  any_growing_put() noexcept = default;
  template <class C>
  explicit any_growing_put(growing_put<C> end) : end_(std::make_unique<model<C>>(std::move(end))) {}

  [[nodiscard]] mutable_bytes bytes() const noexcept { return end_ ? end_->bytes() : mutable_bytes(); }
  [[nodiscard]] std::size_t announced() const noexcept { return end_ ? end_->announced() : 0; }
  result<void> advance(std::size_t size) { return end_ ? end_->advance(size) : detail::no_growing_end(); }
  result<receipt> commit() { return end_ ? end_->commit() : detail::no_growing_end(); }
  void abort() noexcept { if (end_) end_->abort(); }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual mutable_bytes bytes() const noexcept = 0;
    virtual std::size_t announced() const noexcept = 0;
    virtual result<void> advance(std::size_t) = 0;
    virtual result<receipt> commit() = 0;
    virtual void abort() noexcept = 0;
  };
  template <class C>
  struct model final : interface {
    explicit model(growing_put<C> end) noexcept : inner(std::move(end)) {}
    mutable_bytes bytes() const noexcept override { return inner.bytes(); }
    std::size_t announced() const noexcept override { return inner.announced(); }
    result<void> advance(std::size_t size) override { return inner.advance(size); }
    result<receipt> commit() override { return inner.commit(); }
    void abort() noexcept override { inner.abort(); }
    growing_put<C> inner;
  };
  std::unique_ptr<interface> end_;
};

/// The reader's end: a `growing_view` of any connector, which `finish` turns into a `View`. For the rest see there, and above. \threadsafety one thread at a time
template <class View>
class any_growing_view_as {
 public:
  any_growing_view_as() noexcept = default;
  /// `wrap` makes a `View` of the connector's own.
  template <class C>
  any_growing_view_as(growing_view<C> end, View (*wrap)(typename C::view&&)) : end_(std::make_unique<model<C>>(std::move(end), wrap)) {}

  [[nodiscard]] std::size_t room() const noexcept { return end_ ? end_->room() : 0; }
  [[nodiscard]] const_bytes bytes() const noexcept { return end_ ? end_->bytes() : const_bytes(); }
  [[nodiscard]] bool whole() const noexcept { return end_ && end_->whole(); }
  result<const_bytes> wait_for(std::size_t size, deadline until, stop_token stop = {}) { return end_ ? end_->wait_for(size, until, std::move(stop)) : detail::no_growing_end(); }
  result<View> finish(deadline until, stop_token stop = {}) { return end_ ? end_->finish(until, std::move(stop)) : detail::no_growing_end(); }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual std::size_t room() const noexcept = 0;
    virtual const_bytes bytes() const noexcept = 0;
    virtual bool whole() const noexcept = 0;
    virtual result<const_bytes> wait_for(std::size_t, deadline, stop_token) = 0;
    virtual result<View> finish(deadline, stop_token) = 0;
  };
  template <class C>
  struct model final : interface {
    model(growing_view<C> end, View (*w)(typename C::view&&)) noexcept : inner(std::move(end)), wrap(w) {}
    std::size_t room() const noexcept override { return inner.room(); }
    const_bytes bytes() const noexcept override { return inner.bytes(); }
    bool whole() const noexcept override { return inner.whole(); }
    result<const_bytes> wait_for(std::size_t size, deadline until, stop_token stop) override { return inner.wait_for(size, until, std::move(stop)); }
    result<View> finish(deadline until, stop_token stop) override {
      auto out = inner.finish(until, std::move(stop));
      if (!out) return out.error();
      return wrap(std::move(*out));
    }
    growing_view<C> inner;
    View (*wrap)(typename C::view&&);
  };
  std::unique_ptr<interface> end_;
};

OMNICONN_END_NAMESPACE
